"""Which rows of one table of places overlap rows of another, by concept."""

from __future__ import annotations

from typing import Literal

import polars as pl

Relation = Literal["related", "is_a", "covers", "same"]

_PLACE = ["accession", "start", "end", "concept"]


def overlaps(rows: pl.DataFrame, others: pl.DataFrame, *, relation: Relation) -> pl.Series:
    """Tell for each row whether one of the others overlaps it in the same protein.

    Concepts form classes by their names: ``Domain: SH3`` is a ``Domain``.

    Parameters
    ----------
    rows, others : DataFrame
        Each with accession, start, end (1-based inclusive), concept; a label table, annotations or
        proposals.
    relation : {"related", "is_a", "covers", "same"}
        How the concepts must stand to each other. ``is_a``: the row's is the other's or a member of
        its class. ``covers``: the other way round. ``related``: either. ``same``: equal.

    Returns
    -------
    Series of bool
        As long as `rows`.
    """
    mine, theirs = pl.col("concept"), pl.col("concept_other")
    is_a = (mine == theirs) | mine.str.starts_with(theirs + ": ")
    covers = (mine == theirs) | theirs.str.starts_with(mine + ": ")
    fits = {
        "is_a": is_a, "covers": covers, "related": is_a | covers, "same": mine == theirs,
    }[relation]  # fmt: skip
    # Concepts that fit are of one class, so that only those of one class need to meet: a protein
    # may have hundreds of calls and dozens of terms.
    of_class = mine.str.split_exact(": ", 1).struct.field("field_0").alias("class")
    hits = (
        rows.lazy()
        .select(*_PLACE, of_class)
        .with_row_index("row")
        .join(others.lazy().select(*_PLACE, of_class), on=["accession", "class"], suffix="_other")
        .filter((pl.col("start") <= pl.col("end_other")) & (pl.col("start_other") <= pl.col("end")))
        .filter(fits)
        .select(pl.col("row").unique())
        .collect()
    )
    return (
        pl.select(pl.int_range(rows.height, dtype=pl.UInt32))
        .to_series()
        .is_in(hits["row"].implode())
    )
