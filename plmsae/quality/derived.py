"""Columns computed for each batch of rows, so that row-wise expectations can look across tables.

Some are values to compare with (``protein_length``). The others follow one pattern: empty where the
row is fine, else the offending thing in words, so that the expectation is "no values here" and the
examples in a report say at once what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from plmsae.quality.context import Context
from plmsae.quality.measure import PROTEINS, SPANS, Derived


def _sequence_length(batch: pl.DataFrame, context: Context, part: str) -> pl.Series:
    return batch["sequence"].str.len_chars()


def _protein_length(batch: pl.DataFrame, context: Context, part: str) -> pl.Series:
    accession = batch.select(pl.col("accession").cast(pl.String))
    lengths = context.lengths(batch["accession"], part)
    joined = accession.join(lengths, on="accession", how="left", maintain_order="left")
    return joined["protein_length"]


def _unknown_protein(batch: pl.DataFrame, context: Context, part: str) -> pl.Series:
    known = context.lengths(batch["accession"], part)["accession"]
    return batch.select(
        pl.when(~pl.col("accession").is_in(known.implode())).then("accession")
    ).to_series()


def _unknown_concept(batch: pl.DataFrame, context: Context, part: str) -> pl.Series:
    known = pl.Series(sorted(context.concepts), dtype=pl.String)
    return batch.select(
        pl.when(~pl.col("concept").cast(pl.String).is_in(known.implode())).then("concept")
    ).to_series()


def _known_label(batch: pl.DataFrame, context: Context, part: str) -> pl.Series:
    keys = ["accession", "concept"]
    rows = batch.select(pl.col(keys).cast(pl.String), "start", "end").with_row_index("row")
    labels = context.labels.with_columns(pl.col(keys).cast(pl.String))
    clashes = (
        rows.join(labels, on=keys, suffix="_known")
        .filter((pl.col("start") <= pl.col("end_known")) & (pl.col("start_known") <= pl.col("end")))
        .group_by("row")
        .agg(
            pl.format(
                "{} {}..{}",
                pl.col("concept").first(),
                pl.col("start_known").first(),
                pl.col("end_known").first(),
            ).alias("known_label")
        )
    )
    return rows.join(clashes, on="row", how="left", maintain_order="left")["known_label"]


def _precision_margin(batch: pl.DataFrame, context: Context, part: str) -> pl.Series:
    return batch["precision_low"].cast(pl.Float64) - context.min_precision


def _l0_of_k(batch: pl.DataFrame, context: Context, part: str) -> pl.Series:
    return batch["l0"].cast(pl.Float64) / batch["k"].cast(pl.Float64)


DERIVED: Mapping[str, Derived] = {
    "sequence_length": Derived(
        "number of letters of the sequence", PROTEINS, ("sequence",), _sequence_length
    ),
    "protein_length": Derived(
        "length of the protein the row is about",
        SPANS,
        ("accession",),
        _protein_length,
        needs=("proteins",),
    ),
    "unknown_protein": Derived(
        "accession that is not among the proteins",
        SPANS,
        ("accession",),
        _unknown_protein,
        needs=("proteins",),
    ),
    "unknown_concept": Derived(
        "concept the model does not know",
        SPANS,
        ("concept",),
        _unknown_concept,
        needs=("concepts",),
    ),
    "precision_margin": Derived(
        "lower end of the precision minus the one that was asked for (0.5 where none was)",
        ("proposals",),
        ("precision_low",),
        _precision_margin,
    ),
    "l0_of_k": Derived(
        "latents active at once, mean, over the number the model was trained for",
        ("models",),
        ("l0", "k"),
        _l0_of_k,
    ),
    "known_label": Derived(
        "label the protein already has where the proposal lies",
        ("proposals",),
        ("accession", "concept", "start", "end"),
        _known_label,
        needs=("labels",),
    ),
}
"""The derived columns by name."""
