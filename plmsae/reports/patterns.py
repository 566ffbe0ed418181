"""How a latent fires along proteins: at points, in motifs, periodically, or all over.

The classes are those of InterProt (Adams et al., ICML 2025, section on activation patterns),
by the length of contiguous runs and the share of the protein they cover; the cut-offs are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

ACTIVE = 0.15
"""A residue counts as active from this share of the latent's maximum on."""

Pattern = Literal[
    "point", "periodic", "short motif", "medium motif", "long motif", "whole protein", "none"
]


def runs(active_N: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Find the contiguous runs of True.

    Parameters
    ----------
    active_N : ndarray, dtype=bool, shape=(n,)
        One value for each residue.

    Returns
    -------
    ndarray, dtype=int64, shape=(r, 2)
        Start and end of each run, 0-based and half-open, in order.
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], active_N, [False])).astype(np.int8)))
    return edges.reshape(-1, 2).astype(np.int64)


def classify(proteins: Sequence[npt.NDArray[np.floating]]) -> tuple[Pattern, float, float]:
    """Name the pattern a latent makes on the proteins it fires on.

    Parameters
    ----------
    proteins : sequence of ndarray, shape=(length,)
        Scaled activations in [0, 1] of each protein; those without an active residue are left out.

    Returns
    -------
    pattern : str
        ``whole protein`` when it covers at least 80 % of the median protein; else ``periodic`` when
        most proteins have at least four runs at regular distances; else by the median of the
        longest run: ``point`` (1 residue), ``short motif`` (up to 20), ``medium motif`` (up to 50)
        or ``long motif``. ``none`` when it fires nowhere.
    run_length : float
        Median length of a run, in residues.
    coverage : float
        Median share of the residues of a protein that are active.
    """
    longest, lengths, coverage, regular = [], [], [], []
    for values in proteins:
        active = np.asarray(values) >= ACTIVE
        found = runs(active)
        if not len(found):
            continue
        sizes = found[:, 1] - found[:, 0]
        longest.append(int(sizes.max()))
        lengths.extend(sizes.tolist())
        coverage.append(float(active.mean()))
        regular.append(_is_regular(found))
    if not longest:
        return "none", 0.0, 0.0
    typical, covered = float(np.median(longest)), float(np.median(coverage))
    pattern: Pattern
    if covered >= 0.8:
        pattern = "whole protein"
    elif np.mean(regular) > 0.5:
        pattern = "periodic"
    elif typical <= 1:
        pattern = "point"
    elif typical <= 20:
        pattern = "short motif"
    else:
        pattern = "medium motif" if typical <= 50 else "long motif"
    return pattern, float(np.median(lengths)), covered


def _is_regular(found: npt.NDArray[np.int64]) -> bool:
    """Whether at least four runs lie at distances of which most are the same, give or take one."""
    if len(found) < 4:
        return False
    distances = np.diff(found.mean(axis=1))
    return bool(np.mean(np.abs(distances - np.median(distances)) <= 1) >= 0.6)
