"""How well an SAE reconstructs held-out activations, and how sparsely."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.sae.base import Sae
from plmsae.sae.batch import Batch, split_batch


@torch.no_grad()
def evaluate_sae(sae: Sae, chunks: Iterable[Batch]) -> dict[str, float]:
    """Measure an SAE over chunks (n, D) of raw activations, summing in float64.

    A transcoder needs pairs, as in training; all that is said of x below is then about the target.

    Returns
    -------
    dict
        - ``fvu``: fraction of variance unexplained, Σ‖x - x̂‖² / Σ‖x - mean‖², both sums over all
          rows and elements, the mean that of all rows. 1 means no better than the mean.
        - ``explained_variance``: 1 - fvu.
        - ``mse``: mean squared error an element.
        - ``l0``: active latents a row.
        - ``dead_share``: share of latents active for no row.
        - ``gamma``: ‖mean‖ / ‖std‖ of the activations.
        - ``n_vectors``: number of rows.

    Raises
    ------
    InputError
        If there are no rows, or all are equal.
    """
    origin_D: Tensor | None = None
    shifted_sum_D = torch.zeros(sae.config.d_target, dtype=torch.float64)
    shifted_square = squared_error = 0.0
    n = n_active = 0
    alive_F = torch.zeros(sae.config.d_sae, dtype=torch.bool)
    for chunk in chunks:
        input_ND, target_ND = split_batch(chunk, sae.config, sae.device)
        code = sae.encode(input_ND)
        x = (input_ND if target_ND is None else target_ND).double()
        squared_error += float((x - sae.decode(code, input_ND).double()).square().sum())
        if origin_D is None:
            # Sums about a point near the mean do not cancel where ‖mean‖ is far above ‖std‖.
            origin_D = x.mean(dim=0)
        shifted = x - origin_D
        shifted_sum_D += shifted.sum(dim=0).cpu()
        shifted_square += float(shifted.square().sum())
        positive = code.values > 0
        alive_F[code.indices[positive].cpu()] = True
        n_active += int(positive.sum())
        n += x.shape[0]
    if n == 0 or origin_D is None:
        raise InputError("there are no activations to evaluate on")
    variance = shifted_square - float(shifted_sum_D.square().sum()) / n
    if variance <= 0:
        raise InputError("the activations to evaluate on are all equal")
    mean_D = origin_D.cpu() + shifted_sum_D / n
    fvu = squared_error / variance
    return {
        "fvu": fvu,
        "explained_variance": 1 - fvu,
        "mse": squared_error / (n * sae.config.d_target),
        "l0": n_active / n,
        "dead_share": 1 - float(alive_F.double().mean()),
        "gamma": float(mean_D.norm()) / (variance / n) ** 0.5,
        "n_vectors": float(n),
    }
