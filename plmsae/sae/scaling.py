"""The centring and scaling under which an SAE is trained.

PLM activations lie far from the origin and differ in norm by orders of magnitude between layers.
Untreated, both make latents die: γ = ‖mean‖ / ‖std‖ predicts dead latents across models (Simon,
Adams & Zou 2026). Training therefore sees ``(x - mean) * factor``, of mean square 1 per element;
the stored SAE takes raw activations (`Sae.fold_scaling`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from plmsae.core.errors import InputError


class Scaling(NamedTuple):
    """What to take away and multiply by before training, and how far off-centre the data was."""

    mean: Tensor
    """Mean activation, float32, shape (D,)."""
    factor: float
    """1 / root mean square of the centred activations."""
    gamma: float
    """‖mean‖ / ‖std‖ of the raw activations, over the D elements."""

    @property
    def spread(self) -> float:
        """Root mean square distance of an activation from the mean: its typical centred norm."""
        return float(self.mean.numel() ** 0.5 / self.factor)

    def to(self, device: torch.device) -> Scaling:
        """Return the same with the mean on `device`."""
        return self._replace(mean=self.mean.to(device))

    def apply(self, x_BD: Tensor) -> Tensor:
        """Return centred, scaled rows."""
        return (x_BD - self.mean).mul_(self.factor)


def measure_scaling(batches: Sequence[Tensor]) -> Scaling:
    """Measure mean and scale over batches (n, D), in float64.

    Raises
    ------
    InputError
        If an activation is not finite, or all are equal.
    """
    n = sum(batch.shape[0] for batch in batches)
    mean_D = sum((b.double().sum(dim=0) for b in batches), start=torch.zeros(())) / n
    assert isinstance(mean_D, Tensor)  # noqa: S101 (for the type checker)
    variance = sum(float((b.double() - mean_D).square().sum()) for b in batches) / n
    if not torch.isfinite(mean_D).all() or not torch.isfinite(torch.tensor(variance)):
        raise InputError(
            "the activations hold values that are not finite",
            hint="run the protein language model in float32 or bfloat16, not float16",
        )
    if variance <= 1e-12 * float(mean_D.square().sum()) or variance == 0:
        raise InputError("the activations are all equal: there is nothing to learn")
    gamma = float(mean_D.norm()) / variance**0.5
    factor = (mean_D.numel() / variance) ** 0.5
    return Scaling(mean_D.float(), factor, gamma)
