"""Proposals against labels that were hidden: how many came back, and how many were right."""

from __future__ import annotations

import polars as pl

from plmsae.scoring.overlap import overlaps

_PLACE = ["accession", "start", "end", "concept"]


def check_against_truth(
    proposals: pl.DataFrame, truth_labels: pl.DataFrame, known_labels: pl.DataFrame
) -> pl.DataFrame:
    """Compare proposals with the labels that the table they were made from did not have.

    A hidden label is recovered when a proposal of its concept, or of a member of its class,
    overlaps it. A proposal is correct when it overlaps a label of the truth, hidden or known, of
    its concept or of a member of its class.

    Parameters
    ----------
    proposals : DataFrame
        As `plmsae.scoring.fill.FillResult.proposals` returns them.
    truth_labels : DataFrame
        All labels: accession, start, end, concept.
    known_labels : DataFrame
        Those the table had.

    Returns
    -------
    DataFrame
        ``concept``, ``hidden``, ``recovered``, ``proposed``, ``correct`` (counts) and ``precision``
        (correct / proposed; null where nothing was proposed), by concept.
    """
    truth = truth_labels.select(_PLACE).unique()
    hidden = truth.join(known_labels.select(_PLACE), on=_PLACE, how="anti")
    hidden = hidden.with_columns(recovered=overlaps(hidden, proposals, relation="covers"))
    made = proposals.select(_PLACE)
    made = made.with_columns(correct=overlaps(made, truth, relation="covers"))
    by_label = hidden.group_by("concept").agg(
        hidden=pl.len().cast(pl.Int64), recovered=pl.col("recovered").sum().cast(pl.Int64)
    )
    by_proposal = made.group_by("concept").agg(
        proposed=pl.len().cast(pl.Int64), correct=pl.col("correct").sum().cast(pl.Int64)
    )
    return (
        by_label.join(by_proposal, on="concept", how="full", coalesce=True)
        .with_columns(pl.col("hidden", "recovered", "proposed", "correct").fill_null(0))
        .with_columns(
            precision=pl.when(pl.col("proposed") > 0).then(pl.col("correct") / pl.col("proposed"))
        )
        .sort("concept")
    )
