"""The one rule by which activations become called spans.

Calibration measures this rule and scoring applies it, so there is one function. For every concept:

1. **Site** and **protein** concepts: every residue (row) whose activation / max_activation of the
   concept's latent is above the concept's threshold is a call of its own.
2. **Span** concepts with the decoder ``runs``: firing residues at most `max_gap` silent residues
   apart, in one protein, are one call; calls shorter than `min_length` residues, gaps included, are
   dropped, and so are calls without a residue above `seed_threshold` (`decoders.runs`).
3. **Span** concepts with the decoder ``segments``: the most probable segments under the labels' own
   distribution of lengths (`decoders.segments`).
4. The score is the highest scaled activation in the call, at most 1.

All of this was chosen on the proteins on which the caller was chosen
(:mod:`plmsae.concepts.calling.rule_search`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.calling.decoders.activations import (
    BY_RUNS,
    BY_SEGMENTS,
    Activations,
    Spans,
    gather_activations,
    with_decoder,
)
from plmsae.concepts.calling.decoders.runs import find_runs
from plmsae.concepts.calling.decoders.segments import SegmentModel, find_segments
from plmsae.concepts.latents import Int64
from plmsae.core.errors import InputError

CALL_SCHEMA = {
    "protein": pl.Int64,
    "start": pl.Int64,
    "end": pl.Int64,
    "concept": pl.String,
    "score": pl.Float32,
    "latent": pl.Int32,
}

Segments = Mapping[str, SegmentModel]
"""The segment decoders of a model, by concept."""


def call_spans(
    latents: csr_array,
    concepts: pl.DataFrame,
    max_activation_F: npt.ArrayLike,
    offsets_P: npt.ArrayLike,
    segments: Segments | None = None,
) -> pl.DataFrame:
    """Turn activations into called spans.

    Parameters
    ----------
    latents : csr_array, shape=(N, F)
        Raw activations of some proteins under one another.
    concepts : polars.DataFrame
        Columns ``concept``, ``kind``, ``call_latent``, ``call_threshold``, ``min_length``,
        ``max_gap`` and, where not all are plain runs, ``decoder`` and ``seed_threshold``;
        concepts without a latent make no calls.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent.
    offsets_P : array_like, shape=(P + 1,)
        First row of each protein, and N.
    segments : mapping of str to SegmentModel, optional
        For the concepts whose decoder is ``segments``.

    Returns
    -------
    polars.DataFrame
        ``protein`` (index), ``start``, ``end`` (1-based inclusive within the protein), ``concept``,
        ``score`` in (0, 1], ``latent``; sorted by protein, start, end, concept.

    Raises
    ------
    InputError
        If the offsets do not fit the rows, a latent is outside the SAE, or a segment decoder is
        missing.
    """
    offsets = np.asarray(offsets_P, dtype=np.int64)
    if len(offsets) < 1 or offsets[0] != 0 or offsets[-1] != latents.shape[0]:
        raise InputError(f"offsets do not fit the {latents.shape[0]} rows of activations")
    active = callable_rows(concepts)
    latent_Q = active["call_latent"].to_numpy().astype(np.int64)
    used, place = np.unique(latent_Q, return_inverse=True)
    found = gather_activations([latents], used, max_activation_F)
    found = Activations(
        indptr_U1=found.indptr_U1, row_A=found.row_A, value_A=found.value_A, offsets_P1=offsets
    )
    return decode(found, active, place.astype(np.int64), segments or {})


def call_all(
    latents: Sequence[csr_array],
    concepts: pl.DataFrame,
    max_activation_F: npt.ArrayLike,
    segments: Segments | None = None,
) -> pl.DataFrame:
    """Apply the rule of :func:`call_spans` to many proteins, given one array per protein."""
    active = callable_rows(concepts)
    used, place = np.unique(active["call_latent"].to_numpy().astype(np.int64), return_inverse=True)
    found = gather_activations(latents, used, max_activation_F)
    return decode(found, active, place.astype(np.int64), segments or {})


def callable_rows(concepts: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that have a latent and a threshold, with every column of a rule."""
    has = pl.col("call_latent").is_not_null() & pl.col("call_threshold").is_not_null()
    return with_decoder(concepts.filter(has)).with_columns(
        pl.col("min_length").fill_null(1), pl.col("max_gap").fill_null(0)
    )


def decode(
    activations: Activations, rows: pl.DataFrame, place_Q: Int64, segments: Segments
) -> pl.DataFrame:
    """Make the calls of concepts whose activations were gathered; see :func:`call_spans`.

    Parameters
    ----------
    activations : Activations
        Of the latents of all concepts.
    rows : polars.DataFrame
        As :func:`callable_rows` returns them.
    place_Q : ndarray of int, shape=(Q,)
        Position in `activations` of the latent of each row.
    segments : mapping of str to SegmentModel
        For the rows whose decoder is ``segments``.
    """
    by_segments = ((rows["decoder"] == BY_SEGMENTS) & (rows["kind"] == "span")).to_numpy()
    runs = np.flatnonzero(~by_segments)
    chosen = rows[runs]
    spans = find_runs(
        activations,
        place_Q[runs],
        threshold_Q=chosen["call_threshold"].to_numpy(),
        seed_Q=chosen["seed_threshold"].to_numpy(),
        min_length_Q=chosen["min_length"].to_numpy(),
        max_gap_Q=chosen["max_gap"].to_numpy(),
        is_site_Q=(chosen["kind"] != "span").to_numpy(),
    )
    parts = [as_frame(spans, rows, runs, activations.offsets_P1)]
    for q in np.flatnonzero(by_segments):
        concept = rows["concept"][int(q)]
        if concept not in segments:
            raise InputError("the segment decoder of a concept is missing", record=concept)
        spans = find_segments(activations, int(place_Q[q]), segments[concept])
        parts.append(as_frame(spans, rows, np.array([q]), activations.offsets_P1))
    calls = pl.concat(parts)
    return calls.sort("protein", "start", "end", "concept", maintain_order=True)


def as_frame(spans: Spans, rows: pl.DataFrame, row_Q: Int64, offsets_P1: Int64) -> pl.DataFrame:
    """Return spans as a table of calls; `row_Q` is the row of each pair in the table of rules."""
    protein = np.searchsorted(offsets_P1, spans.first_K, side="right") - 1
    base = offsets_P1[protein]
    whose = row_Q[spans.pair_K]
    return pl.DataFrame(
        {
            "protein": protein,
            "start": spans.first_K - base + 1,
            "end": spans.end_K - base,
            "concept": rows["concept"].gather(whose),
            "score": spans.score_K,
            "latent": rows["call_latent"].gather(whose).cast(pl.Int32),
        },
        schema=CALL_SCHEMA,
    )


__all__ = [
    "BY_RUNS", "BY_SEGMENTS", "CALL_SCHEMA", "Segments", "as_frame", "call_all", "call_spans",
    "callable_rows", "decode",
]  # fmt: skip
