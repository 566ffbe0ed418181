"""Latents that fire on the same residues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csc_array, csr_array

from plmsae.concepts.features.patterns import ACTIVE

_BLOCK = 1024  # latents compared with all others at a time


class FiringTogether(NamedTuple):
    """Another latent, and how far the active residues of the two agree."""

    latent: int
    jaccard: float
    """Residues on which both are active, over those on which either is, in (0, 1]."""
    n_residues: int
    """Residues on which both are active."""


def active_residues(scaled: csr_array) -> csr_array:
    """Return float32 ones where a scaled activation is at least `ACTIVE`."""
    kept = scaled.data >= np.float32(ACTIVE)
    counts = np.concatenate([[0], np.cumsum(kept)])
    ones = np.ones(int(counts[-1]), dtype=np.float32)
    indptr = counts[scaled.indptr]
    return csr_array((ones, scaled.indices[kept], indptr), shape=scaled.shape)


def firing_together(
    active_NF: csr_array, latents: Sequence[int], *, n: int
) -> list[list[FiringTogether]]:
    """Return, for each of `latents`, those active on the same residues, by Jaccard index.

    Parameters
    ----------
    active_NF : csr_array of ones, shape=(N, F)
        From `active_residues`.
    latents : sequence of int
        Whose companions are looked for, among all F.
    n : int
        At most this many for each.

    Returns
    -------
    list of list of FiringTogether
        In the order of `latents`; the highest Jaccard index first.
    """
    columns = csc_array(active_NF)
    count_F = np.diff(columns.indptr)
    found: list[list[FiringTogether]] = []
    for start in range(0, len(latents), _BLOCK):
        block = list(latents[start : start + _BLOCK])
        both = csr_array(columns[:, block].T @ active_NF)
        for i, latent in enumerate(block):
            span = slice(both.indptr[i], both.indptr[i + 1])
            other, shared = both.indices[span], both.data[span]
            jaccard = shared / (count_F[latent] + count_F[other] - shared)
            jaccard[other == latent] = -1
            order = np.lexsort((other, -jaccard))[:n]
            found.append(
                [
                    FiringTogether(int(other[j]), round(float(jaccard[j]), 4), int(shared[j]))
                    for j in order
                    if jaccard[j] > 0
                ]
            )
    return found
