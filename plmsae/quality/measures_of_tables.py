"""Measures of tables of rows about proteins: repeats, spread, back-test."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from plmsae.concepts.calling.calibration import wilson_interval
from plmsae.quality.context import Context
from plmsae.quality.measure import EXAMPLES, Measured, scalar, short


def rows(frame: pl.LazyFrame, context: Context) -> Measured:
    """Count the rows."""
    return Measured(scalar(frame, pl.len()))


def repeats(*columns: str) -> Callable[[pl.LazyFrame, Context], Measured]:
    """Count the rows beyond the first of each distinct combination of `columns`."""

    def compute(frame: pl.LazyFrame, context: Context) -> Measured:
        keys = [pl.col(column).cast(pl.String) for column in columns]
        # Hashes keep 8 bytes a row, however long the values are; that two among 10 million rows
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
    """Take the ``median`` or the ``max`` of the number of rows a protein has."""

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


def backtest(numerator: str, denominator: str) -> Callable[[pl.LazyFrame, Context], Measured]:
    """Divide two columns of the back-test, each summed over the concepts."""

    def compute(frame: pl.LazyFrame, context: Context) -> Measured:
        backtest = context.scan("backtest")
        total = scalar(backtest, pl.col(denominator).sum())
        part = scalar(backtest, pl.col(numerator).sum()) or 0
        return Measured(part / total if total else None)

    return compute


def overpromised(frame: pl.LazyFrame, context: Context) -> Measured:
    """Count the concepts whose lowest promise lies above what the back-test allows."""
    promised = frame.group_by("concept").agg(pl.col("precision_low").min().alias("low"))
    tried = (
        context.scan("backtest").group_by("concept").agg(pl.col("n_proposed", "n_correct").sum())
    )
    both = promised.join(tried, on="concept").collect(engine="streaming").sort("concept")
    odd = [
        f"{row['concept']}: promised ≥ {row['low']:.2f}, was right "
        f"{row['n_correct']} times in {row['n_proposed']}"
        for row in both.iter_rows(named=True)
        if row["n_proposed"]
        and row["low"] is not None
        and row["low"] > _wilson_upper(row["n_correct"], row["n_proposed"])
    ]
    return Measured(len(odd), tuple(odd[:EXAMPLES]))


def _wilson_upper(k: int, n: int) -> float:
    """Upper end of the 95 % Wilson score interval of `k` successes in `n` trials."""
    return float(wilson_interval(k, n)[1])
