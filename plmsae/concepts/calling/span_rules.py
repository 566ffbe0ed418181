"""How long a call must be and which gaps it may bridge, learnt where the pair was chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.calling.calls import call_all
from plmsae.concepts.calling.matching import match_calls
from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import Float32, Int64

MAX_GAP = 10


def span_rule(labelled_lengths: Int64, right_call_lengths: Int64, *, kind: str) -> tuple[int, int]:
    """Derive the shortest call and the widest gap of a concept from the split that chose its pair.

    Parameters
    ----------
    labelled_lengths : ndarray
        Residues of each labelled instance.
    right_call_lengths : ndarray
        Lengths of the calls, made without a minimum, that overlap a labelled instance.
    kind : str
        ``site`` or ``span``.

    Returns
    -------
    min_length, max_gap : int
        With q the 10 % quantile of the labelled lengths: gaps up to q / 4, at most 10 residues, are
        closed, so that two short instances with a linker stay two; and a call must be as long as
        the 5 % quantile of the right calls, but never longer than q / 2, so that a latent that
        marks a point of a long domain keeps its calls. 1 and 0 for sites.
    """
    if kind == "site" or not len(labelled_lengths):
        return 1, 0
    short = float(np.quantile(labelled_lengths, 0.1))
    max_gap = min(int(short // 4), MAX_GAP)
    if not len(right_call_lengths):
        return 1, max_gap
    right = float(np.quantile(right_call_lengths, 0.05, method="lower"))
    return max(1, int(min(right, short // 2))), max_gap


def with_span_rule(
    concepts: pl.DataFrame, latents: Sequence[csr_array], labels: ResidueLabels, scale_F: Float32
) -> pl.DataFrame:
    """Add ``min_length`` and ``max_gap`` to chosen pairs.

    Parameters
    ----------
    concepts : polars.DataFrame
        Columns ``concept``, ``kind``, ``latent``, ``threshold``; one row for each concept of the
        labels, in their order.
    latents : sequence of csr_array, shape=(length, F)
        Raw activations of the proteins that chose the pairs.
    labels : ResidueLabels
        Their labels.
    scale_F : ndarray, shape=(F,)
        The scale of each latent.
    """
    size = labels.end_I - labels.start_I
    by_concept = np.argsort(labels.concept_I, kind="stable")
    cuts = np.cumsum(labels.instances_C())[:-1]
    labelled = np.split(size[by_concept], cuts)
    nothing = np.zeros(0, dtype=np.int64)
    gaps = [span_rule(n, nothing, kind=k)[1] for n, k in zip(labelled, labels.kinds, strict=True)]
    draft = concepts.with_columns(
        pl.lit(1, dtype=pl.Int32).alias("min_length"),
        pl.Series("max_gap", gaps, dtype=pl.Int32),
    )
    calls = call_all(latents, draft, scale_F)
    matches = match_calls(calls, labels)
    length = (calls["end"] - calls["start"] + 1).to_numpy()[matches.right_K]
    owner = matches.concept_K[matches.right_K]
    order = np.argsort(owner, kind="stable")
    n_right = np.bincount(owner, minlength=labels.n_concepts)
    right = np.split(length[order], np.cumsum(n_right)[:-1])
    shortest = [
        span_rule(lengths, calls_of, kind=kind)[0]
        for lengths, calls_of, kind in zip(labelled, right, labels.kinds, strict=True)
    ]
    return draft.with_columns(pl.Series("min_length", shortest, dtype=pl.Int32))
