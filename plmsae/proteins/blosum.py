"""BLOSUM62, and what its ungapped scores mean.

Henikoff & Henikoff (1992), *Amino acid substitution matrices from protein blocks*, PNAS 89:10915;
in half-bit units.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LETTERS = "ARNDCQEGHILKMFPSTWYV"
"""Order of the rows and columns of `BLOSUM62`."""

_ROWS = """
 4 -1 -2 -2  0 -1 -1  0 -2 -1 -1 -1 -1 -2 -1  1  0 -3 -2  0
-1  5  0 -2 -3  1  0 -2  0 -3 -2  2 -1 -3 -2 -1 -1 -3 -2 -3
-2  0  6  1 -3  0  0  0  1 -3 -3  0 -2 -3 -2  1  0 -4 -2 -3
-2 -2  1  6 -3  0  2 -1 -1 -3 -4 -1 -3 -3 -1  0 -1 -4 -3 -3
 0 -3 -3 -3  9 -3 -4 -3 -3 -1 -1 -3 -1 -2 -3 -1 -1 -2 -2 -1
-1  1  0  0 -3  5  2 -2  0 -3 -2  1  0 -3 -1  0 -1 -2 -1 -2
-1  0  0  2 -4  2  5 -2  0 -3 -3  1 -2 -3 -1  0 -1 -3 -2 -2
 0 -2  0 -1 -3 -2 -2  6 -2 -4 -4 -2 -3 -3 -2  0 -2 -2 -3 -3
-2  0  1 -1 -3  0  0 -2  8 -3 -3 -1 -2 -1 -2 -1 -2 -2  2 -3
-1 -3 -3 -3 -1 -3 -3 -4 -3  4  2 -3  1  0 -3 -2 -1 -3 -1  3
-1 -2 -3 -4 -1 -2 -3 -4 -3  2  4 -2  2  0 -3 -2 -1 -2 -1  1
-1  2  0 -1 -3  1  1 -2 -1 -3 -2  5 -1 -3 -1  0 -1 -3 -2 -2
-1 -1 -2 -3 -1  0 -2 -3 -2  1  2 -1  5  0 -2 -1 -1 -1 -1  1
-2 -3 -3 -3 -2 -3 -3 -3 -1  0  0 -3  0  6 -4 -2 -2  1  3 -1
-1 -2 -2 -1 -3 -1 -1 -2 -2 -3 -3 -1 -2 -4  7 -1 -1 -4 -3 -2
 1 -1  1  0 -1  0  0  0 -1 -2 -2  0 -1 -2 -1  4  1 -3 -2 -2
 0 -1  0 -1 -1 -1 -1 -2 -2 -1 -1 -1 -1 -2 -1  1  5 -2 -2  0
-3 -3 -4 -4 -2 -2 -3 -2 -2 -3 -2 -3 -1  1 -4 -3 -2 11  2 -3
-2 -2 -2 -3 -2 -1 -2 -3  2 -1 -1 -2 -1  3 -3 -2 -2  2  7 -1
 0 -3 -3 -3 -1 -2 -2 -3 -3  3  1 -2  1 -1 -2 -2  0 -3 -1  4
"""

BLOSUM62: NDArray[np.int8] = np.array([row.split() for row in _ROWS.split("\n") if row], np.int8)
"""Scores, shape (20, 20), symmetric."""

LAMBDA = 0.3176
"""Scale of ungapped BLOSUM62 scores (Karlin & Altschul 1990), at standard residue frequencies."""

K = 0.134
"""Karlin–Altschul K of ungapped BLOSUM62 scores."""


def score_for(evalue: float, *, query: int, database: int) -> int:
    """Return the least raw score whose expected number of chance hits is at most `evalue`.

    Parameters
    ----------
    evalue : float
        Expected number of chance segments at least as good: E = K m n exp(−λS).
    query, database : int
        m and n, in residues.
    """
    return math.ceil(math.log(K * max(query, 1) * max(database, 1) / evalue) / LAMBDA)


GAP_OPEN, GAP_EXTEND = 11, 1
"""A gap of n residues costs ``GAP_OPEN + n * GAP_EXTEND``: the default of BLASTP."""

GAPPED_LAMBDA, GAPPED_K = 0.267, 0.041
"""The same for scores with gaps, at those costs (Altschul et al. 2001, NAR 29:351, and NCBI's
``blast_stat.c``)."""


def expected_hits(
    score: NDArray[np.integer], *, query: NDArray[np.integer], database: int
) -> NDArray[np.float64]:
    """Return the E-values of scores of alignments with gaps: E = K m n exp(−λS).

    Parameters
    ----------
    score : ndarray of int, shape (n,)
        Raw scores.
    query : ndarray of int, shape (n,)
        Length of each query, m, in residues.
    database : int
        Residues that were searched, n.
    """
    evalue: NDArray[np.float64] = (
        GAPPED_K * np.maximum(query, 1) * max(database, 1) * np.exp(-GAPPED_LAMBDA * score)
    )
    return evalue
