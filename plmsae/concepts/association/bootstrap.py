"""Intervals of F1 by resampling proteins, or whole homology clusters.

Residues of a protein, and proteins of a family, are not independent, so they are drawn together:
the percentile interval of a cluster bootstrap (Efron & Tibshirani 1993, ch. 13; Field & Welsh,
J. R. Stat. Soc. B 69, 2007).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from plmsae.concepts.association.pairs import GroupCounts
from plmsae.core.errors import InputError

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
    weight_GB = _draw(n_groups, draws, seed).astype(np.float64)
    return percentile_interval(counts, weight_GB, confidence, n_pairs)


def draw_proteins(group_P: npt.ArrayLike, draws: int, seed: int) -> npt.NDArray[np.float32]:
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


def bias_corrected_interval(
    estimate: float, draws_B: npt.ArrayLike, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the bias-corrected percentile interval of a number (Efron 1987, §3).

    A count of what passes a level is biased under resampling: rare concepts become rarer, and what
    lies just below the level passes in half of the samples. The correction shifts the percentiles
    by where the estimate lies among the samples.

    Parameters
    ----------
    estimate : float
        From the proteins as they are.
    draws_B : array_like, shape=(B,)
        The same number on each sample.
    confidence : float
        Two-sided level in (0, 1).

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
    z = ndtri((1 + confidence) / 2)
    low, high = np.quantile(draws, ndtr([2 * z0 - z, 2 * z0 + z]))
    return min(float(low), estimate), max(float(high), estimate)


def _draw(n_groups: int, draws: int, seed: int) -> npt.NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=draws).T


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
