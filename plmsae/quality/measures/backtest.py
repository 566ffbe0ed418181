"""Measures of proposals by a back-test, in which known labels were hidden."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from plmsae.concepts.calling.calibration import wilson_interval
from plmsae.quality.context import Context
from plmsae.quality.measure import EXAMPLES, Measure, Measured, scalar


def ratio(numerator: str, denominator: str) -> Callable[[pl.LazyFrame, Context], Measured]:
    """Divide two columns of the back-test, each summed over the concepts."""

    def compute(frame: pl.LazyFrame, context: Context) -> Measured:
        backtest = context.scan("backtest")
        total = scalar(backtest, pl.col(denominator).sum())
        part = scalar(backtest, pl.col(numerator).sum()) or 0
        return Measured(part / total if total else None)

    return compute


def overpromised(frame: pl.LazyFrame, context: Context) -> Measured:
    """Count the concepts whose lowest stated precision is above what the back-test allows."""
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


MEASURES: Mapping[str, Measure] = {
    "backtest_precision": Measure(
        "share of the back-test's proposals that were right",
        ("proposals",),
        (),
        ratio("n_correct", "n_proposed"),
        needs=("backtest",),
    ),
    "backtest_recall": Measure(
        "share of the labels hidden in the back-test that came back",
        ("proposals",),
        (),
        ratio("n_recovered", "n_hidden"),
        needs=("backtest",),
    ),
    "n_overpromised_concepts": Measure(
        "concepts whose promised precision the back-test refutes (95 % Wilson)",
        ("proposals",),
        ("concept", "precision_low"),
        overpromised,
        needs=("backtest",),
    ),
}
