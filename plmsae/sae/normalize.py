"""What an SAE does to each row of its input before anything else, and how it is undone.

The names are SAELens's, so that a stored SAE means the same in both. Each row is treated by
itself: what an SAE says of a residue never depends on its neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from plmsae.sae.config import InputNorm

_EPSILON = 1e-5


class Normalized(NamedTuple):
    """Normalised rows, and what brings a reconstruction of them back to the raw ones' scale."""

    rows: Tensor
    """Normalised rows, (N, D)."""
    scale: Tensor | None
    """What to multiply a reconstruction by, (N, 1); None for 1."""
    shift: Tensor | None
    """What to add to it then, (N, 1); None for 0."""

    def restore(self, y_ND: Tensor) -> Tensor:
        """Return a reconstruction of the normalised rows on the scale of the raw ones."""
        if self.scale is not None:
            y_ND = y_ND * self.scale
        return y_ND if self.shift is None else y_ND + self.shift


def normalize(x_ND: Tensor, how: InputNorm) -> Normalized:
    """Normalise raw rows.

    Parameters
    ----------
    x_ND : Tensor, shape (N, D)
        Raw activations.
    how : InputNorm
        - ``none``: as they are.
        - ``layer_norm``: (x - mean) / (std + 1e-5) over the D elements of a row, std unbiased;
          undone by std and mean. InterProt, ESM C (there called z-score) and SAELens agree on it.
        - ``constant_norm_rescale``: x · sqrt(D) / ‖x‖ (Anthropic's April 2024 update; InterPLM's
          ``normalize_to_sqrt_d``).
    """
    if how == "none":
        return Normalized(x_ND, None, None)
    if how == "layer_norm":
        mean_N1 = x_ND.mean(dim=1, keepdim=True)
        centred_ND = x_ND - mean_N1
        std_N1 = centred_ND.std(dim=1, keepdim=True)
        return Normalized(centred_ND / (std_N1 + _EPSILON), std_N1, mean_N1)
    # A row of zeros stays one.
    norm_N1 = torch.linalg.vector_norm(x_ND, dim=1, keepdim=True).clamp(min=1e-12)
    scale_N1 = norm_N1 / x_ND.shape[1] ** 0.5
    return Normalized(x_ND / scale_N1, scale_N1, None)
