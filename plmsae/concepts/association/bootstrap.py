"""Intervals of F1 by resampling proteins, or whole homology clusters.

Residues of a protein, and proteins of a family, are not independent, so they are drawn together:
the percentile interval of a cluster bootstrap (Efron & Tibshirani 1993, ch. 13; Field & Welsh,
J. R. Stat. Soc. B 69, 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """How often each protein is drawn in each of B samples, float32 arrays (P, B)."""

    select_PB: npt.NDArray[np.float32]
    report_PB: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls, select_group_P: npt.ArrayLike, report_group_P: npt.ArrayLike, draws: int, seed: int
    ) -> Samples:
        """Draw the homology clusters of two splits, each from its own."""
        return cls(
            select_PB=draw_proteins(select_group_P, draws, [seed, 1]),
            report_PB=draw_proteins(report_group_P, draws, seed),
        )


def draw_proteins(
    group_P: npt.ArrayLike, draws: int, seed: int | Sequence[int]
) -> npt.NDArray[np.float32]:
    """Draw groups of proteins with replacement, as many as there are, `draws` times.

    Parameters
    ----------
    group_P : array_like of int, shape=(P,)
        Homology cluster of each protein; a cluster is drawn whole.
    draws, seed : int
        Number of samples B; 0 gives none.

    Returns
    -------
    ndarray, dtype=float32, shape=(P, B)
        How often each protein is in each sample.
    """
    names, member = np.unique(np.asarray(group_P), return_inverse=True)
    return _draw(len(names), draws, seed)[member].astype(np.float32)


def bias_corrected_interval(estimate: float, draws_B: npt.ArrayLike) -> tuple[float, float]:
    """Return the bias-corrected 95 % percentile interval of a number (Efron 1987, §3).

    A count of what passes a level is biased under resampling: rare concepts become rarer, and what
    lies just below the level passes in half of the samples. The correction shifts the percentiles
    by where the estimate lies among the samples.

    Parameters
    ----------
    estimate : float
        From the proteins as they are.
    draws_B : array_like, shape=(B,)
        The same number on each sample.

    Returns
    -------
    low, high : float
        Always around the estimate: where the bias is beyond correction, as far as the estimate.
        NaN without samples.
    """
    draws = np.asarray(draws_B, dtype=np.float64)
    if not len(draws):
        return float("nan"), float("nan")
    below = (np.count_nonzero(draws < estimate) + np.count_nonzero(draws <= estimate)) / 2
    # Half a sample from either end, so that the correction stays finite.
    z0 = ndtri(np.clip(below / len(draws), 0.5 / len(draws), 1 - 0.5 / len(draws)))
    z = ndtri(0.975)
    low, high = np.quantile(draws, ndtr([2 * z0 - z, 2 * z0 + z]))
    return min(float(low), estimate), max(float(high), estimate)


def _draw(n_groups: int, draws: int, seed: int | Sequence[int]) -> npt.NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=draws).T


def percentile_interval(value_QB: Float64) -> tuple[Float64, Float64]:
    """Return the 95 % percentile interval of each row; NaN where no sample has a value."""
    low, high = np.full(len(value_QB), np.nan), np.full(len(value_QB), np.nan)
    known = ~np.isnan(value_QB).all(axis=1) if value_QB.shape[1] else np.zeros(len(low), dtype=bool)
    if known.any():
        low[known], high[known] = np.nanquantile(value_QB[known], [0.025, 0.975], axis=1)
    return low, high
