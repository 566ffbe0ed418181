"""How one amino acid becomes another: a reversible rate matrix made from BLOSUM62.

BLOSUM62 (Henikoff and Henikoff, PNAS 1992) gives log-odds in half bits, so 2^(s/2) says how much
more often two residues face each other in related proteins than by chance. Those odds serve as
exchangeabilities r of a general time-reversible model Q_ab = r_ab π_b (Yang, *Molecular Evolution*
2014, section 2.2), with π the composition of Swiss-Prot, scaled to one expected change a unit of
time. It is a simulator's matrix: the ranking of exchanges is BLOSUM62's, the rates are not fitted.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from plmsae.proteins.blosum import BLOSUM62, LETTERS
from plmsae.proteins.simulate.alphabet import ALPHABET, BACKGROUND, Float


def blosum62() -> Float:
    """Return BLOSUM62 in half bits; shape (20, 20), symmetric, in the order of `ALPHABET`."""
    order = [LETTERS.index(letter) for letter in ALPHABET]
    return BLOSUM62[np.ix_(order, order)].astype(np.float64)


def rate_matrix() -> Float:
    """Return Q; shape (20, 20), rows sum to 0, one expected change a unit of time, reversible."""
    rates: Float = 2.0 ** (blosum62() / 2.0) * BACKGROUND
    np.fill_diagonal(rates, 0.0)
    rates /= (BACKGROUND[:, None] * rates).sum()
    np.fill_diagonal(rates, -rates.sum(axis=1))
    return rates


@cache
def _spectrum() -> tuple[Float, Float, Float]:
    # π^½ Q π^-½ is symmetric for a reversible Q, so its spectrum is real and stable to compute.
    root = np.sqrt(BACKGROUND)
    values, vectors = np.linalg.eigh(root[:, None] * rate_matrix() / root)
    return values, vectors / root[:, None], vectors.T * root


def transition(times: Float) -> Float:
    """Return P(t) = exp(Qt).

    Parameters
    ----------
    times : ndarray, shape (...)
        Expected changes a site, >= 0.

    Returns
    -------
    ndarray, shape (..., 20, 20)
        Rows sum to 1: ``P[..., a, b]`` is the probability that `a` has become `b`.
    """
    values, left, right = _spectrum()
    matrices = (left * np.exp(np.asarray(times)[..., None, None] * values)) @ right
    matrices = np.maximum(matrices, 0.0)
    result: Float = matrices / matrices.sum(axis=-1, keepdims=True)
    return result
