"""An untrained PLM: the shape of another one, with random weights.

What an SAE finds in its activations comes from the architecture and the amino acids, not from
learning. InterPLM's control is a PLM with shuffled weights, which finds amino acids and nothing
else.
"""

from __future__ import annotations

import dataclasses

import torch

from plmsae.plm.model import Plm


def untrained_plm(plm: Plm, *, layer: int, seed: int) -> Plm:
    """Return a PLM of the same configuration with the weights that training would start from.

    Parameters
    ----------
    plm : Plm
        Whose shape, device and precision to take.
    layer : int
        The highest layer that will be asked for; blocks above it are not made.
    seed : int
        Another seed, or another layer, gives other weights.

    Returns
    -------
    Plm
        Its `revision` is ``random:`` and the seed; it has no language-modelling head.
    """
    plm.check_layer(layer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = plm.family.untrained(plm.model.config, max(layer, 1))
    # The last of the blocks made is not the last of the PLM: its final layer norm is not due.
    setattr(body.config, plm.family.layers_key, plm.n_layers)
    # Parameters only: buffers such as rotary frequencies stay in float32, as when loaded.
    for parameter in body.parameters():
        parameter.data = parameter.data.to(plm.dtype)
    body = body.to(plm.device).eval().requires_grad_(False)
    return dataclasses.replace(
        plm, id=f"untrained {plm.id}", revision=f"random:{seed}", model=body, masked_lm=None
    )
