"""Intervals of F1 by resampling proteins, or whole homology clusters.

Residues of a protein, and proteins of a family, are not independent, so they are drawn together:
the percentile interval of a cluster bootstrap (Efron & Tibshirani 1993, ch. 13; Field & Welsh,
J. R. Stat. Soc. B 69, 2007).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from plmsae.concepts.pairs import GroupCounts
from plmsae.errors import InputError

Float64 = npt.NDArray[np.float64]
_BLOCK = 4_000_000  # (pair, draw) values held at a time


def bootstrap_f1(
    counts: GroupCounts, draws: int, seed: int, confidence: float = 0.95
) -> tuple[Float64, Float64]:
    """Return the percentile interval of each pair's F1.

    Parameters
    ----------
    counts : GroupCounts
        Counts of Q pairs in G groups of proteins, which are drawn with replacement.
    draws : int
        Number of bootstrap samples.
    seed : int
        Of the random numbers; all pairs see the same samples.
    confidence : float
        Two-sided level in (0, 1).

    Returns
    -------
    low, high : ndarray, shape=(Q,)
        NaN where no sample holds the concept.
    """
    if draws < 1:
        raise InputError("the bootstrap needs at least one draw", value=str(draws))
    n_pairs, n_groups = counts.fires_QG.shape
    rng = np.random.default_rng(seed)
    weight_GB = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=draws).T
    return percentile_interval(counts, weight_GB.astype(np.float64), confidence, n_pairs)


def percentile_interval(
    counts: GroupCounts, weight_GB: Float64, confidence: float, n_pairs: int
) -> tuple[Float64, Float64]:
    """Return the quantiles of F1 over given samples (columns of `weight_GB`)."""
    low, high = np.full(n_pairs, np.nan), np.full(n_pairs, np.nan)
    tail = (1 - confidence) / 2
    step = max(1, _BLOCK // weight_GB.shape[1])
    for first in range(0, n_pairs, step):
        part = slice(first, first + step)
        f1 = GroupCounts(
            true_positives_QG=counts.true_positives_QG[part],
            fires_QG=counts.fires_QG[part],
            found_QG=counts.found_QG[part],
            targets_QG=counts.targets_QG[part],
        ).f1(weight_GB)
        known = ~np.isnan(f1).all(axis=1)
        if known.any():
            ends = np.nanquantile(f1[known], [tail, 1 - tail], axis=1)
            low[part][known], high[part][known] = ends
    return low, high
