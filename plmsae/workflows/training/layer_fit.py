"""Whether a foreign SAE reconstructs the layer it is said to be of, better than other layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from plmsae.core.errors import InputError
from plmsae.workflows.training.activations import activation_stream
from plmsae.workflows.training.transcoding import as_batch

if TYPE_CHECKING:
    from plmsae.plm.model import Plm
    from plmsae.sae.base import Sae

MARGIN = 0.02
"""Explained variance by which another layer must be ahead for the SAE to count as that layer's:
neighbouring layers are alike, and the sample is small."""

_AT_ONCE = 3  # Layers whose activations are held in memory together.


def neighbours(layer: int, last: int) -> tuple[int, ...]:
    """Return a layer with the ones below and above it, within 0..`last`."""
    return tuple(near for near in (layer - 1, layer, layer + 1) if 0 <= near <= last)


def explained_by_layer(
    plm: Plm,
    sae: Sae,
    unit: str,
    sequences: list[str],
    layers: Iterable[int],
    *,
    target: int | None = None,
) -> dict[int, float]:
    """Return the explained variance of an SAE at each of several layers of its PLM.

    Parameters
    ----------
    layers : iterable of int
        Layers that the SAE reads, 0 for the embedding output.
    target : int, optional
        Of a transcoder: the layer that it gives, the same for all.
    """
    from plmsae.sae.evaluate import evaluate_sae

    sae = sae.to(plm.device)
    wanted = list(layers)
    found = {}
    for first in range(0, len(wanted), _AT_ONCE):
        some = wanted[first : first + _AT_ONCE]
        read = tuple(sorted({*some, *(() if target is None else (target,))}))
        states = list(activation_stream(plm, read, unit, sequences, 0))
        for layer in some:
            batches = (as_batch(chunk, layer, target) for chunk in states)
            found[layer] = float(evaluate_sae(sae, batches)["explained_variance"])
    return found


def fits(explained: Mapping[int, float], layer: int) -> bool:
    """Tell whether an SAE explains something of `layer` and clearly more of no other."""
    return explained[layer] > 0 and explained[layer] >= max(explained.values()) - MARGIN


def misfit(explained: Mapping[int, float], layer: int, plm: str) -> InputError:
    """Return the error that says which layer fits, if any does.

    Parameters
    ----------
    explained : mapping of int to float
        Of all layers that were measured.
    layer : int
        The layer asked for.
    plm : str
        What the PLM is called.
    """
    best = max(explained, key=lambda near: explained[near])
    measured = f"explained variance {explained[layer]:.2f} on proteins that ship with plmsae"
    if explained[best] <= 0:
        return InputError(
            f"the SAE explains nothing of what {plm} computes after any block ({measured}; the "
            f"best is layer {best} with {explained[best]:.2f})",
            where="--layer",
            value=str(layer),
            hint="are --plm, --norm-factor and --convention those it was trained with? "
            "--no-check-fit imports it anyway",
        )
    return InputError(
        f"the SAE does not fit this layer of {plm} ({measured}); layer {best} fits best "
        f"({explained[best]:.2f})",
        where="--layer",
        value=str(layer),
        hint=f"give --layer {best}, or --no-check-fit to import it anyway",
    )
