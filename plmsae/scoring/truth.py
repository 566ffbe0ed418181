"""Proposals against labels that were hidden: how many came back, and how many were right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from plmsae.concepts.calling.calibration import call_precision
from plmsae.concepts.calling.place_matching import found_labels, right_calls
from plmsae.concepts.labels.residue_labels import ids_of

_PLACE = ["accession", "start", "end", "concept"]
_COUNTS = ["hidden", "recovered", "proposed", "correct"]


def check_against_truth(
    proposals: pl.DataFrame,
    truth_labels: pl.DataFrame,
    known_labels: pl.DataFrame,
    *,
    clusters: Mapping[str, int] | None = None,
) -> pl.DataFrame:
    """Compare proposals with the labels that the table they were made from did not have.

    The rule is that of `concepts.calling.matching`: a hidden label is recovered when a proposal of
    its concept, or of a member of its class, matches it; a proposal is correct when it matches a
    label of the truth, hidden or known, of its concept or of a member of its class.

    Parameters
    ----------
    proposals : DataFrame
        As `plmsae.scoring.fill.FillResult.proposals` returns them; ``precision`` and
        ``precision_low`` are those stated.
    truth_labels : DataFrame
        All labels: accession, start, end, concept and, if there, kind; without it all are spans.
    known_labels : DataFrame
        Those the table had.
    clusters : mapping of str to int, optional
        Homology cluster by accession, so that relatives count once in the interval.

    Returns
    -------
    DataFrame
        ``concept``, ``hidden``, ``recovered``, ``proposed``, ``correct`` (counts), ``precision``
        (correct / proposed) with its 95 % interval ``precision_low``, ``precision_high``, and
        ``promised``, ``promised_low`` (means over the proposals), by concept; null where nothing
        was proposed.
    """
    columns = [*_PLACE, *(["kind"] if "kind" in truth_labels.columns else [])]
    truth = truth_labels.select(columns).unique(_PLACE, maintain_order=True)
    hidden = truth.join(known_labels.select(_PLACE), on=_PLACE, how="anti")
    hidden = hidden.with_columns(recovered=found_labels(hidden, proposals))
    made = proposals.with_columns(correct=right_calls(proposals, truth))
    by_label = hidden.group_by("concept").agg(
        hidden=pl.len().cast(pl.Int64), recovered=pl.col("recovered").sum().cast(pl.Int64)
    )
    promised = [pl.lit(None, pl.Float64).alias(n) for n in ("promised", "promised_low")]
    if {"precision", "precision_low"} <= set(proposals.columns):
        promised = [
            pl.col("precision").cast(pl.Float64).mean().alias("promised"),
            pl.col("precision_low").cast(pl.Float64).mean().alias("promised_low"),
        ]
    by_proposal = made.group_by("concept").agg(
        pl.len().cast(pl.Int64).alias("proposed"), pl.col("correct").sum().cast(pl.Int64), *promised
    )
    return (
        by_label.join(by_proposal, on="concept", how="full", coalesce=True)
        .with_columns(pl.col(_COUNTS).fill_null(0))
        .join(_precision(made, clusters), on="concept", how="left")
        .select("concept", *_COUNTS, "precision", "precision_low", "precision_high",
                "promised", "promised_low")
        .sort("concept")
    )  # fmt: skip


def totals(measured: pl.DataFrame) -> dict[str, float]:
    """Sum up over the concepts.

    Parameters
    ----------
    measured : DataFrame
        As `check_against_truth` returns it.

    Returns
    -------
    dict of str to float
        ``hidden``, ``recovered``, ``proposed``, ``correct``, ``recall`` (where something was
        hidden), and, where something was proposed, ``precision`` and ``promised_precision``, the
        mean stated precision of the proposals.
    """
    sums = {name: float(measured[name].sum()) for name in _COUNTS}
    if sums["hidden"]:
        sums["recall"] = sums["recovered"] / sums["hidden"]
    if sums["proposed"]:
        sums["precision"] = sums["correct"] / sums["proposed"]
        promised = (measured["promised"] * measured["proposed"]).sum()
        sums["promised_precision"] = float(promised) / sums["proposed"]
    return sums


def _precision(made: pl.DataFrame, clusters: Mapping[str, int] | None) -> pl.DataFrame:
    """Return the share of correct proposals of each concept, and its interval."""
    concepts = made["concept"].unique().sort().to_list()
    cluster_K = None
    if clusters is not None:
        cluster_K = np.array([clusters[a] for a in made["accession"]], dtype=np.int64)
    measured = call_precision(
        made["correct"].to_numpy(), ids_of(made["concept"], concepts), len(concepts), cluster_K
    )
    return measured.select(
        pl.Series("concept", concepts, dtype=pl.String),
        precision="call_precision",
        precision_low="call_precision_low",
        precision_high="call_precision_high",
    )
