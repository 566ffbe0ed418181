"""Spans as runs of residues above a threshold, with short gaps closed and short runs dropped.

With a *seed* threshold above the first, a run must also hold a residue above that (hysteresis, as
in edge detection: Canny, IEEE PAMI 8, 1986): the low threshold finds the ends, the high one decides
whether there is anything.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from plmsae.concepts.calling.decoders.activations import Activations, Spans
from plmsae.concepts.latents import Int64

Bool = npt.NDArray[np.bool_]


def find_runs(
    activations: Activations,
    latent_Q: Int64,
    *,
    threshold_Q: npt.ArrayLike,
    seed_Q: npt.ArrayLike,
    min_length_Q: npt.ArrayLike,
    max_gap_Q: npt.ArrayLike,
    is_site_Q: Bool,
) -> Spans:
    """Return the runs of every pair of a concept and its latent.

    Parameters
    ----------
    latent_Q : ndarray of int, shape=(Q,)
        The latent of each pair, as a position in `activations`.
    threshold_Q, seed_Q : array_like of float, shape=(Q,)
        Shares of the latent's maximum: above the first a residue fires; a run needs one above both.
    min_length_Q, max_gap_Q : array_like of int, shape=(Q,)
        Residues: shorter runs are dropped; longer gaps end a run.
    is_site_Q : ndarray of bool, shape=(Q,)
        Where true, every firing residue is a span of its own.
    """
    pair, row, value = activations.of_all(latent_Q)
    above = value > np.asarray(threshold_Q, dtype=np.float32)[pair]
    pair, row, value = pair[above], row[above], value[above]
    protein = np.searchsorted(activations.offsets_P1, row, side="right") - 1
    gap, shortest = np.asarray(max_gap_Q), np.asarray(min_length_Q)
    begins = np.ones(len(row), dtype=bool)
    begins[1:] = (
        (pair[1:] != pair[:-1])
        | (protein[1:] != protein[:-1])
        | (np.diff(row) - 1 > gap[pair[1:]])
        | is_site_Q[pair[1:]]
    )
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(row)) - 1 if len(first) else first
    score = np.maximum.reduceat(value, first) if len(first) else value
    keep = is_site_Q[pair[first]] | (row[last] - row[first] + 1 >= shortest[pair[first]])
    keep &= score > np.asarray(seed_Q, dtype=np.float32)[pair[first]]
    first, last, score = first[keep], last[keep], score[keep]
    return Spans(
        pair_K=pair[first],
        first_K=row[first],
        end_K=row[last] + 1,
        score_K=np.minimum(score, np.float32(1)),
    )
