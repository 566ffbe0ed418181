"""The one rule by which activations become called spans.

Calibration measures this rule and scoring applies it, so there is one function. For every concept:

1. The residues fire where activation / max_activation of the concept's latent is above the
   concept's threshold.
2. **Span** concepts: firing residues at most `max_gap` silent residues apart, in one protein, are
   one call; calls shorter than `min_length` residues, gaps included, are dropped.
3. **Site** concepts: every firing residue is a call of its own, because the labels are single
   residues.
4. The score is the highest scaled activation in the call, at most 1.

`min_length` and `max_gap` come from the split on which the pair was chosen
(:mod:`plmsae.concepts.calling.span_rules`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.latents import Int64, chunks_of_proteins, stack_rows
from plmsae.core.errors import InputError

CALL_SCHEMA = {
    "protein": pl.Int64,
    "start": pl.Int64,
    "end": pl.Int64,
    "concept": pl.String,
    "score": pl.Float32,
    "latent": pl.Int32,
}


def call_spans(
    latents: csr_array,
    concepts: pl.DataFrame,
    max_activation_F: npt.ArrayLike,
    offsets_P: npt.ArrayLike,
) -> pl.DataFrame:
    """Turn activations into called spans.

    Parameters
    ----------
    latents : csr_array, shape=(N, F)
        Raw activations of some proteins under one another.
    concepts : polars.DataFrame
        Columns ``concept``, ``kind``, ``latent``, ``threshold``, ``min_length``, ``max_gap``;
        concepts without a latent make no calls.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent.
    offsets_P : array_like, shape=(P + 1,)
        First row of each protein, and N.

    Returns
    -------
    polars.DataFrame
        ``protein`` (index), ``start``, ``end`` (1-based inclusive within the protein), ``concept``,
        ``score`` in (0, 1], ``latent``; sorted by protein, start, end, concept.

    Raises
    ------
    InputError
        If the offsets do not fit the rows, or a latent is outside the SAE.
    """
    offsets = np.asarray(offsets_P, dtype=np.int64)
    if len(offsets) < 1 or offsets[0] != 0 or offsets[-1] != latents.shape[0]:
        raise InputError(f"offsets do not fit the {latents.shape[0]} rows of activations")
    active = concepts.filter(pl.col("latent").is_not_null() & pl.col("threshold").is_not_null())
    latent_Q = active["latent"].to_numpy().astype(np.int64)
    scale_F = np.asarray(max_activation_F, dtype=np.float32)
    if len(latent_Q) and not 0 <= latent_Q.min() <= latent_Q.max() < latents.shape[1]:
        raise InputError(
            f"a concept names a latent outside the SAE of {latents.shape[1]} latents",
            value=str(latent_Q.max()),
        )
    pair, row, value = _firing(latents, latent_Q, scale_F, active["threshold"].to_numpy())
    protein = np.searchsorted(offsets, row, side="right") - 1
    is_site = (active["kind"] == "site").to_numpy()
    gap = active["max_gap"].fill_null(0).to_numpy()
    shortest = active["min_length"].fill_null(1).to_numpy()

    begins = np.ones(len(row), dtype=bool)
    begins[1:] = (
        (pair[1:] != pair[:-1])
        | (protein[1:] != protein[:-1])
        | (np.diff(row) - 1 > gap[pair[1:]])
        | is_site[pair[1:]]
    )
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(row)) - 1 if len(first) else first
    score = np.maximum.reduceat(value, first) if len(first) else value
    keep = is_site[pair[first]] | (row[last] - row[first] + 1 >= shortest[pair[first]])
    first, last, score = first[keep], last[keep], score[keep]
    base = offsets[protein[first]]
    calls = pl.DataFrame(
        {
            "protein": protein[first],
            "start": row[first] - base + 1,
            "end": row[last] - base + 1,
            "concept": active["concept"].gather(pair[first]),
            "score": np.minimum(score, np.float32(1)),
            "latent": latent_Q[pair[first]],
        },
        schema=CALL_SCHEMA,
    )
    return calls.sort("protein", "start", "end", "concept", maintain_order=True)


def call_all(
    latents: Sequence[csr_array], concepts: pl.DataFrame, max_activation_F: npt.ArrayLike
) -> pl.DataFrame:
    """Apply :func:`call_spans` to many proteins, a chunk at a time."""
    parts = []
    for first, last in chunks_of_proteins(latents):
        chunk = latents[first:last]
        offsets = np.concatenate([[0], np.cumsum([array.shape[0] for array in chunk])])
        calls = call_spans(stack_rows(chunk), concepts, max_activation_F, offsets)
        parts.append(calls.with_columns(pl.col("protein") + first))
    return pl.concat(parts)


def _firing(
    latents: csr_array,
    latent_Q: Int64,
    scale_F: npt.NDArray[np.float32],
    threshold_Q: npt.NDArray[np.float64],
) -> tuple[Int64, Int64, npt.NDArray[np.float32]]:
    """Return pair, row and scaled activation where pairs fire, sorted by pair, then row."""
    columns = csr_array(latents)[:, latent_Q].tocsc()
    pair = np.repeat(np.arange(len(latent_Q)), np.diff(columns.indptr))
    divisor = scale_F[latent_Q][pair]
    value = np.divide(columns.data, divisor, out=np.zeros_like(divisor), where=divisor > 0)
    above = value > np.asarray(threshold_Q, dtype=np.float32)[pair]
    return pair[above], columns.indices[above].astype(np.int64), value[above]
