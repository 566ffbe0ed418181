"""How well an SAE reconstructs held-out activations, and how sparsely."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.sae.base import Sae
from plmsae.sae.batch import Batch, split_batch


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
        - ``l0``: active latents per row.
        - ``dead_share``: share of latents active for no row.
        - ``gamma``: ‖mean‖ / ‖std‖ of the activations.
        - ``activation_scale``: root mean square distance of the activations from their mean.
        - ``bad_activation_share``: share of the rows that hold NaN or an infinity.
        - ``n_vectors``: number of rows.

    Raises
    ------
    InputError
        If there are no rows, or all are equal.
    """
    sums = ReconstructionSums(sae)
    for chunk in chunks:
        sums.add(chunk)
    return sums.metrics()


class ReconstructionSums:
    """What `evaluate_sae` adds up, for callers that get the chunks of several SAEs at once."""

    def __init__(self, sae: Sae) -> None:
        self._sae = sae
        self._origin_D: Tensor | None = None
        self._shifted_sum_D = torch.zeros(sae.config.d_target, dtype=torch.float64)
        self._shifted_square = self._squared_error = 0.0
        self._n = self._n_active = self._n_bad = 0
        self._alive_F = torch.zeros(sae.config.d_sae, dtype=torch.bool)

    @torch.no_grad()
    def add(self, chunk: Batch) -> None:
        """Add rows (n, D) of raw activations, or for a transcoder a pair."""
        sae = self._sae
        input_ND, target_ND = split_batch(chunk, sae.config, sae.device)
        code = sae.encode(input_ND)
        x = (input_ND if target_ND is None else target_ND).double()
        self._squared_error += float((x - sae.decode(code, input_ND).double()).square().sum())
        if self._origin_D is None:
            # Sums about a point near the mean do not cancel where ‖mean‖ is far above ‖std‖.
            self._origin_D = x.mean(dim=0)
        shifted = x - self._origin_D
        self._shifted_sum_D += shifted.sum(dim=0).cpu()
        self._shifted_square += float(shifted.square().sum())
        positive = code.values > 0
        self._alive_F[code.indices[positive].cpu()] = True
        self._n_active += int(positive.sum())
        self._n_bad += int((~torch.isfinite(x).all(dim=1)).sum())
        self._n += x.shape[0]

    def metrics(self) -> dict[str, float]:
        """Return what `evaluate_sae` does; raises `InputError` as that."""
        n = self._n
        if n == 0 or self._origin_D is None:
            raise InputError("there are no activations to evaluate on")
        variance = self._shifted_square - float(self._shifted_sum_D.square().sum()) / n
        if variance <= 0:
            raise InputError("the activations to evaluate on are all equal")
        mean_D = self._origin_D.cpu() + self._shifted_sum_D / n
        fvu = self._squared_error / variance
        return {
            "fvu": fvu,
            "explained_variance": 1 - fvu,
            "mse": self._squared_error / (n * self._sae.config.d_target),
            "l0": self._n_active / n,
            "dead_share": 1 - float(self._alive_F.double().mean()),
            "gamma": float(mean_D.norm()) / (variance / n) ** 0.5,
            "activation_scale": (variance / n) ** 0.5,
            "bad_activation_share": self._n_bad / n,
            "n_vectors": float(n),
        }
