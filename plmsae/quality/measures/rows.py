"""Measures of tables of rows about proteins: how many there are, repeats, and how they spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from plmsae.quality.context import Context
from plmsae.quality.measure import (
    CALLS,
    EXAMPLES,
    PROTEINS,
    SPANS,
    Measure,
    Measured,
    scalar,
    short,
)
from plmsae.quality.suites import KINDS


def rows(frame: pl.LazyFrame, context: Context) -> Measured:
    """Count the rows."""
    return Measured(scalar(frame, pl.len()))


def repeats(*columns: str) -> Callable[[pl.LazyFrame, Context], Measured]:
    """Count the rows beyond the first of each distinct combination of `columns`."""

    def compute(frame: pl.LazyFrame, context: Context) -> Measured:
        keys = [pl.col(column).cast(pl.String) for column in columns]
        # Hashes keep 8 bytes per row, however long the values are; that two among 10 million rows
        # have the same by accident has a chance of 3 in a million, and is then found out below.
        hashed = frame.select(pl.struct(keys).hash().alias("key"))
        if not scalar(hashed, pl.len() - pl.col("key").n_unique()):
            return Measured(0)
        found = (
            frame.select(keys)
            .group_by(columns)
            .len("n")
            .filter(pl.col("n") > 1)
            .sort("n", *columns, descending=[True, *[False] * len(columns)])
            .collect(engine="streaming")
        )
        return Measured(
            int((found["n"] - 1).sum()),
            tuple(
                f"{' '.join(short(value) for value in row[:-1])} ({row[-1]}×)"
                for row in found.head(EXAMPLES).iter_rows()
            ),
        )

    return compute


def distinct(column: str) -> Callable[[pl.LazyFrame, Context], Measured]:
    """Count the distinct values of `column`."""

    def compute(frame: pl.LazyFrame, context: Context) -> Measured:
        counts = (
            frame.select(pl.col(column).cast(pl.String))
            .group_by(column)
            .len("n")
            .sort("n", column, descending=[True, False])
            .collect(engine="streaming")
        )
        top = counts.head(EXAMPLES)
        return Measured(
            counts.height, tuple(f"{short(name)} ({n:,} rows)" for name, n in top.iter_rows())
        )

    return compute


def share_of_most_common(column: str) -> Callable[[pl.LazyFrame, Context], Measured]:
    """Take the share of rows that have the most common value of `column`."""

    def compute(frame: pl.LazyFrame, context: Context) -> Measured:
        counts = frame.group_by(column).len("n").collect(engine="streaming")
        if not counts.height:
            return Measured(None)
        name, n = counts.sort("n", descending=True).row(0)
        return Measured(n / counts["n"].sum(), (short(name),))

    return compute


def share_rejected(frame: pl.LazyFrame, context: Context) -> Measured:
    """Take the share of all records that were rejected on reading, the first one aside.

    In a file of ten, one bad record is a tenth; it is reported, and the others are scored.
    """
    rejected = context.scan("rejected")
    n_rejected = scalar(rejected, pl.len()) or 0
    total = n_rejected + (scalar(frame, pl.len()) or 0)
    if not total:
        return Measured(None)
    reasons = (
        rejected.group_by("reason")
        .len("n")
        .sort("n", "reason", descending=[True, False])
        .head(EXAMPLES)
        .collect(engine="streaming")
    )
    return Measured(
        max(n_rejected - 1, 0) / total,
        tuple(f"{short(reason)} ({n}×)" for reason, n in reasons.iter_rows()),
    )


def per_protein(statistic: str) -> Callable[[pl.LazyFrame, Context], Measured]:
    """Take the ``median`` or the ``max`` of the number of rows per protein."""

    def compute(frame: pl.LazyFrame, context: Context) -> Measured:
        counts = (
            frame.select(pl.col("accession").cast(pl.String))
            .group_by("accession")
            .len("n")
            .sort("n", "accession", descending=[True, False])
            .collect(engine="streaming")
        )
        if not counts.height:
            return Measured(None)
        if statistic == "median":
            return Measured(counts.select(pl.col("n").median()).item())
        top = counts.head(EXAMPLES)
        return Measured(int(top["n"][0]), tuple(f"{a} ({n:,})" for a, n in top.iter_rows()))

    return compute


def share_annotated(frame: pl.LazyFrame, context: Context) -> Measured:
    """Take the share of the known proteins that have a row."""
    total = scalar(context.scan("proteins"), pl.len())
    known = context.scan("proteins").select("accession")
    annotated = scalar(
        frame.join(known, on="accession", how="semi"), pl.col("accession").n_unique()
    )
    return Measured((annotated or 0) / total if total else None)


def concepts_of_two_kinds(frame: pl.LazyFrame, context: Context) -> Measured:
    """Count the concepts that have more than one kind."""
    odd = (
        frame.group_by("concept")
        .agg(pl.col("kind").n_unique().alias("n"))
        .filter(pl.col("n") > 1)
        .sort("concept")
        .collect(engine="streaming")
    )
    return Measured(odd.height, tuple(str(name) for name in odd["concept"].head(EXAMPLES)))


_SPAN_KEY = ("accession", "start", "end", "concept")

MEASURES: Mapping[str, Measure] = {
    "n_rows": Measure("number of rows", KINDS, (), rows),
    "n_repeated_accessions": Measure(
        "records that repeat an accession", PROTEINS, ("accession",), repeats("accession")
    ),
    "n_repeated_latents": Measure(
        "rows that repeat a latent", ("evidence",), ("latent",), repeats("latent")
    ),
    "share_rejected": Measure(
        "share of the records that were rejected on reading, the first one aside",
        PROTEINS,
        (),
        share_rejected,
        needs=("rejected",),
    ),
    "n_repeated_spans": Measure(
        "rows that repeat protein, span and concept", SPANS, _SPAN_KEY, repeats(*_SPAN_KEY)
    ),
    "n_models": Measure("number of different models", CALLS, ("model_uri",), distinct("model_uri")),
    "n_concepts": Measure("number of different concepts", SPANS, ("concept",), distinct("concept")),
    "share_of_top_concept": Measure(
        "share of the rows that carry the most common concept",
        SPANS,
        ("concept",),
        share_of_most_common("concept"),
    ),
    "median_per_protein": Measure(
        "median number of rows of a protein that has any",
        SPANS,
        ("accession",),
        per_protein("median"),
    ),
    "max_per_protein": Measure(
        "largest number of rows of one protein", SPANS, ("accession",), per_protein("max")
    ),
    "share_annotated": Measure(
        "share of the proteins that have at least one row",
        SPANS,
        ("accession",),
        share_annotated,
        needs=("proteins",),
    ),
    "n_concepts_of_two_kinds": Measure(
        "concepts that are a site in one row and a span in another",
        ("labels",),
        ("concept", "kind"),
        concepts_of_two_kinds,
    ),
}
