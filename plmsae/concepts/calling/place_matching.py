"""The rule of `concepts.calling.matching` on tables of places: calls and labels by accession.

Concepts form classes by their names: a call of ``Domain`` is right on a label of ``Domain: SH3``,
and a label of ``Domain`` is found by a call of ``Domain: SH3``.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from plmsae.concepts.calling.matching import decide

_SPOT = ["accession", "start", "end"]


def right_calls(calls: pl.DataFrame, labels: pl.DataFrame) -> pl.Series:
    """Tell which calls are right.

    Parameters
    ----------
    calls, labels : polars.DataFrame
        ``accession``, ``start``, ``end`` (1-based inclusive), ``concept``; ``kind`` of the labels,
        without which all are spans.

    Returns
    -------
    polars.Series of bool
        As long as `calls`. Calls of one concept are paired one to one with the labels of it and of
        its members; a label that stands there under several names counts once.
    """
    return _judged(calls, labels, of_calls=True)


def found_labels(labels: pl.DataFrame, calls: pl.DataFrame) -> pl.Series:
    """Tell which labels a right call of their concept, or of a member of it, finds.

    Parameters and rule are those of :func:`right_calls`; the answer is as long as `labels`.
    """
    return _judged(labels, calls, of_calls=False)


def _judged(rows: pl.DataFrame, others: pl.DataFrame, *, of_calls: bool) -> pl.Series:
    """Match each concept's rows with the other places of that concept or of its members."""
    mine, theirs = pl.col("concept"), pl.col("concept_other")
    of_class = mine.str.split_exact(": ", 1).struct.field("field_0").alias("class")
    labels = others if of_calls else rows
    # Equally good pairs are decided by position, so that the order of the table does not matter.
    order = rows.select(pl.arg_sort_by(*_SPOT, "concept", maintain_order=True)).to_series()
    rows = rows[order]
    is_site = (
        labels.filter(pl.col("kind") != "span").select("concept").unique()["concept"].to_list()
        if "kind" in labels.columns
        else []
    )
    pairs = (
        rows.lazy()
        .select(*_SPOT, "concept", of_class)
        .with_row_index("row")
        .join(
            others.lazy().select(*_SPOT, "concept", of_class).unique(),
            on=["accession", "class"],
            suffix="_other",
        )
        .filter((pl.col("start") <= pl.col("end_other")) & (pl.col("start_other") <= pl.col("end")))
        .filter((mine == theirs) | theirs.str.starts_with(mine + ": "))
        # The same place under the name of a class and of a member is one place.
        .unique(["row", "start_other", "end_other"], keep="any")
        .sort("row", "start_other", "end_other")
        .collect()
    )
    place = pairs.select(
        pl.struct("concept", "accession", "start_other", "end_other").rank("dense") - 1
    ).to_series()
    index = place.to_numpy().astype(np.int64)
    row = pairs["row"].to_numpy().astype(np.int64)
    shared = pairs.select(
        pl.min_horizontal("end", "end_other") - pl.max_horizontal("start", "start_other") + 1
    ).to_series()
    own = (rows["end"] - rows["start"] + 1).to_numpy().astype(np.int64)
    length = np.ones(int(index.max()) + 1 if len(index) else 0, dtype=np.int64)
    length[index] = (pairs["end_other"] - pairs["start_other"] + 1).to_numpy()
    is_span = ~pairs["concept"].is_in(is_site).to_numpy()
    overlap = shared.to_numpy().astype(np.int64)
    if of_calls:
        judged = decide(row, index, overlap, own, length, is_span)[0]
    else:
        judged = decide(index, row, overlap, length, own, is_span)[1]
    return pl.Series(judged, dtype=pl.Boolean)[order.arg_sort()]
