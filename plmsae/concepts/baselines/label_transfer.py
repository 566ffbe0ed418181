"""Labels carried over from one protein to another, through the alignment of the two.

The simplest annotator there is, and what every other must be compared with: a protein gets the
labels of its nearest labelled protein (`plmsae.concepts.baselines.nearest_protein`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.baselines.nearest_protein import Neighbours
from plmsae.concepts.calling.calls import CALL_SCHEMA
from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import expand
from plmsae.proteins.alignment import Alignment, align

SHARE = 0.5
"""A label is carried over if that share of its residues stand opposite a residue."""


def transfer_labels(
    queries: Sequence[str],
    neighbours: Neighbours,
    references: Sequence[str],
    labels: ResidueLabels,
    *,
    whole: bool = False,
) -> pl.DataFrame:
    """Give each query the labels of its neighbour.

    Parameters
    ----------
    queries, references : sequence of str
        Sequences; the proteins of `labels` are the references.
    neighbours : Neighbours
        Which query takes its labels from which reference.
    whole : bool
        Labels are of whole proteins, each of which is one row of `labels`: nothing is aligned.

    Returns
    -------
    polars.DataFrame
        Calls, as :func:`plmsae.concepts.calling.calls.call_spans` gives them: ``protein`` is the
        index of the query, ``score`` the similarity of the neighbour, ``latent`` null. A span
        reaches from its first to its last residue that stands opposite one; a site is carried over
        if it does. Calls of one concept that overlap are one.
    """
    by_protein = np.searchsorted(labels.protein_I, np.arange(len(references) + 1))
    rows: list[tuple[int, int, int, str, float]] = []
    for query, target, similarity in zip(
        neighbours.query, neighbours.target, neighbours.similarity, strict=True
    ):
        instances = range(by_protein[target], by_protein[target + 1])
        if not instances:
            continue
        base = labels.offsets_P1[target]
        spans = [(int(labels.start_I[i] - base), int(labels.end_I[i] - base)) for i in instances]
        carried: list[tuple[int, int] | None] = [(0, 1)] * len(spans)
        if not whole:
            (alignment,) = align(queries[query], [references[target]])
            carried = carry_over(alignment, spans)
        for instance, place in zip(instances, carried, strict=True):
            if place is not None:
                concept = labels.concepts[labels.concept_I[instance]]
                rows.append((int(query), place[0] + 1, place[1], concept, float(similarity)))
    return _merged(rows)


def carry_over(
    alignment: Alignment, spans: Sequence[tuple[int, int]]
) -> list[tuple[int, int] | None]:
    """Carry stretches of the target of an alignment over to its query.

    Parameters
    ----------
    alignment : Alignment
        Of the protein that takes (query) with the one that gives (target).
    spans : sequence of (int, int)
        Stretches of the target, 0-based and half-open.

    Returns
    -------
    list of (int, int) or None
        The stretch of the query for each, 0-based and half-open; None where less than `SHARE` of
        its residues are aligned.
    """
    carried: list[tuple[int, int] | None] = []
    for start, end in spans:
        first, last = np.searchsorted(alignment.target_positions, [start, end])
        if last - first < max(1, SHARE * (end - start)):
            carried.append(None)
            continue
        at = alignment.query_positions[first:last]
        carried.append((int(at[0]), int(at[-1]) + 1))
    return carried


def as_latents(
    calls: pl.DataFrame, concepts: Sequence[str], lengths: Sequence[int]
) -> list[csr_array]:
    """Return calls as latents, so that they are measured like those of an SAE.

    Parameters
    ----------
    calls : polars.DataFrame
        As `transfer_labels` returns them.
    concepts : sequence of str
        The C concepts, in the order of the columns.
    lengths : sequence of int
        Rows of each protein.

    Returns
    -------
    list of csr_array, float32, shape=(length, C)
        On each residue of a call the call's score.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    column_of = {concept: number for number, concept in enumerate(concepts)}
    columns = np.array([column_of[name] for name in calls["concept"]], np.int64)
    start = offsets[calls["protein"].to_numpy()] + calls["start"].to_numpy() - 1
    size = (calls["end"] - calls["start"] + 1).to_numpy()
    stack = csr_array(
        (
            np.repeat(calls["score"].to_numpy().astype(np.float32), size),
            (expand(start, start + size), np.repeat(columns, size)),
        ),
        shape=(int(offsets[-1]), len(concepts)),
    )
    stack.sort_indices()
    return [stack[offsets[p] : offsets[p + 1]] for p in range(len(lengths))]


def _merged(rows: list[tuple[int, int, int, str, float]]) -> pl.DataFrame:
    """Return calls in which none overlaps another of its concept in its protein."""
    schema = {name: CALL_SCHEMA[name] for name in ("protein", "start", "end", "concept", "score")}
    calls = pl.DataFrame(rows, schema=schema, orient="row")
    family = ["protein", "concept"]
    calls = calls.sort(*family, "start", "end")
    reach = pl.col("end").cum_max().shift(1).over(family)
    new = (reach.is_null() | (pl.col("start") > reach)).cum_sum().over(family)
    return (
        calls.with_columns(new.alias("piece"))
        .group_by(*family, "piece")
        .agg(pl.col("start").min(), pl.col("end").max(), pl.col("score").max())
        .with_columns(latent=pl.lit(None, pl.Int32))
        .select(list(CALL_SCHEMA))
        .sort("protein", "start", "end", "concept")
    )
