"""How well an SAE reconstructs each of some groups of rows, for example each amino acid.

Two shares of variance are distinguished. About the mean of all rows, an SAE that represents
nothing but the group explains much. About the group's own mean, only what it represents beyond the
group counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.sae.base import Sae

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class GroupVariance:
    """Sums of squares by group; arrays of shape (G,)."""

    count_G: npt.NDArray[np.int64]
    """Rows."""
    error_G: Float64
    """Of x − x̂."""
    total_G: Float64
    """Of x − the mean of all rows."""
    within_G: Float64
    """Of x − the mean of the group's rows."""
    mean_D: Float64
    """Mean of all rows, shape (D,)."""
    n_bad: int
    """Rows that hold NaN or an infinity; the sums are then NaN."""

    @property
    def explained(self) -> float:
        """Share of the variance of all rows that is explained: 1 − FVU."""
        return 1 - float(self.error_G.sum() / self.total_G.sum())

    @property
    def scale(self) -> float:
        """Root mean square distance of a row from the mean."""
        return float((self.total_G.sum() / self.count_G.sum()) ** 0.5)

    @property
    def explained_within(self) -> float:
        """Share explained of what is left when the group is known."""
        return 1 - float(self.error_G.sum() / self.within_G.sum())

    @property
    def explained_G(self) -> Float64:
        """Share explained in each group, about the mean of all rows; NaN for an empty group."""
        return 1 - _ratio(self.error_G, self.total_G)

    @property
    def explained_within_G(self) -> Float64:
        """Share explained in each group about its own mean; NaN where there is no variance."""
        return 1 - _ratio(self.error_G, self.within_G)


@torch.no_grad()
def variance_by_group(
    sae: Sae, chunks: Iterable[tuple[Tensor, npt.NDArray[np.int64]]], n_groups: int
) -> GroupVariance:
    """Measure the reconstruction of an autoencoder by group, summing in float64.

    Parameters
    ----------
    sae : Sae
        Not a transcoder.
    chunks : iterable of (Tensor, ndarray)
        Raw activations (n, D) and the group of each row, 0 … G - 1.
    n_groups : int
        G.

    Raises
    ------
    InputError
        For a transcoder, or if there are no rows, or all are equal.
    """
    if sae.config.is_transcoder:
        raise InputError("a transcoder does not reconstruct what it reads")
    d = sae.config.d_in
    origin_D: Float64 | None = None
    count_G, error_G, square_G = (
        np.zeros(n_groups, np.int64),
        np.zeros(n_groups),
        np.zeros(n_groups),
    )
    sum_GD = np.zeros((n_groups, d))
    n_bad = 0
    for x_ND, group_N in chunks:
        x = x_ND.to(sae.device)
        error_N = (x.double() - sae.reconstruct(x).double()).square().sum(1).cpu().numpy()
        rows = x.double().cpu().numpy()
        n_bad += int((~np.isfinite(rows).all(axis=1)).sum())
        if origin_D is None:
            # Sums about a point near the mean do not cancel where ‖mean‖ is far above ‖std‖.
            origin_D = rows.mean(axis=0)
        rows -= origin_D
        count_G += np.bincount(group_N, minlength=n_groups)
        error_G += np.bincount(group_N, weights=error_N, minlength=n_groups)
        square_G += np.bincount(group_N, weights=(rows**2).sum(1), minlength=n_groups)
        np.add.at(sum_GD, group_N, rows)
    n = int(count_G.sum())
    if origin_D is None or not n:
        raise InputError("there are no activations to evaluate on")
    mean_D = sum_GD.sum(axis=0) / n
    total_G = square_G - 2 * sum_GD @ mean_D + count_G * float(mean_D @ mean_D)
    within_G = square_G - _ratio((sum_GD**2).sum(1), count_G.astype(np.float64), empty=0.0)
    if total_G.sum() <= 0:
        raise InputError("the activations to evaluate on are all equal")
    return GroupVariance(
        count_G=count_G,
        error_G=error_G,
        total_G=np.maximum(total_G, 0),
        within_G=np.maximum(within_G, 0),
        mean_D=mean_D + origin_D,
        n_bad=n_bad,
    )


def _ratio(part: Float64, whole: Float64, empty: float = float("nan")) -> Float64:
    share: Float64 = np.divide(part, whole, out=np.full(whole.shape, empty), where=whole > 0)
    return share
