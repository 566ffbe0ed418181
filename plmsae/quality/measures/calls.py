"""Measures of the lengths of calls: whole proteins and single residues where labels are spans.

They are of the one concept that does worst, as a thousand good calls of others do not make up for a
concept whose calls say nothing. They compare with the labels on which the concept was chosen, and
take the lower end of the 95 % interval, so that one odd call of three does not stop a run.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from plmsae.concepts.calling.calibration import wilson_interval
from plmsae.concepts.calling.measuring import WHOLE
from plmsae.quality.context import Context
from plmsae.quality.measure import EXAMPLES, Measure, Measured


def excess_whole_protein(frame: pl.LazyFrame, context: Context) -> Measured:
    """Take the worst concept's share of whole-protein rows, less that of its labels."""
    lengths = context.scan("proteins").select(
        pl.col("accession").cast(pl.String), pl.col("length").cast(pl.Float64)
    )
    rows = frame.with_columns(pl.col("accession").cast(pl.String)).join(
        lengths.unique("accession", keep="any"), on="accession", how="left"
    )
    size = pl.col("end") - pl.col("start") + 1
    return _worst(rows, size > WHOLE * pl.col("length"), "label_whole_share", context)


def excess_one_residue(frame: pl.LazyFrame, context: Context) -> Measured:
    """Take the worst concept's share of one-residue rows, less that of its labels."""
    return _worst(frame, pl.col("start") == pl.col("end"), "label_one_residue_share", context)


def _worst(rows: pl.LazyFrame, bad: pl.Expr, expected: str, context: Context) -> Measured:
    spans = context.span_concepts
    if spans is None or spans.is_empty():
        return Measured(None)
    counts = (
        rows.with_columns(pl.col("concept").cast(pl.String))
        .join(spans.lazy().select("concept", expected=expected), on="concept")
        .group_by("concept", "expected")
        .agg(n=pl.len(), n_bad=bad.fill_null(value=False).sum())
        .collect(engine="streaming")
    )
    return worst_share(counts)


def worst_share(counts: pl.DataFrame) -> Measured:
    """Take the concept with the highest share of bad calls beyond what is expected.

    Parameters
    ----------
    counts : polars.DataFrame
        ``concept``, ``n`` and ``n_bad`` calls, ``expected`` share; and an ``example``, if there is.
    """
    if counts.is_empty():
        return Measured(None)
    low = wilson_interval(counts["n_bad"].to_numpy(), counts["n"].to_numpy())[0]
    counts = counts.with_columns(low=pl.Series(low) - pl.col("expected")).sort(
        "low", "concept", descending=[True, False]
    )
    return Measured(
        max(float(counts["low"][0]), 0.0),
        tuple(
            f"{row['concept']} ({row['n_bad']:,} of {row['n']:,})"
            + (f": {row['example']}" if row.get("example") else "")
            for row in counts.head(EXAMPLES).iter_rows(named=True)
            if row["n_bad"]
        ),
    )


MEASURES: Mapping[str, Measure] = {
    "excess_whole_protein": Measure(
        "of the span concept where it is highest: share of its rows that cover more than 90 % "
        "of their protein, less the share of its labels that do (lower end of the 95 % interval)",
        ("annotations", "proposals"),
        ("accession", "start", "end", "concept"),
        excess_whole_protein,
        needs=("proteins", "concepts"),
    ),
    "excess_one_residue": Measure(
        "of the span concept where it is highest: share of its rows that are one residue "
        "long, less the share of its labels that are (lower end of the 95 % interval)",
        ("annotations", "proposals"),
        ("accession", "start", "end", "concept"),
        excess_one_residue,
        needs=("concepts",),
    ),
}
