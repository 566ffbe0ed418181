"""Which concepts a model does not call at a precision, each with the reason."""

from __future__ import annotations

import polars as pl

from plmsae.concepts.calling.calibration import called, highest_bar, meets
from plmsae.concepts.calling.callers import can_call, with_caller

NO_LATENT = "no latent detects it"
UNMEASURED = "its precision was never measured"
IMPLIED = "all its calls are made by its members, and name it in the column implied"
"""Reasons to abstain; the others, a precision that is too low, have their numbers in them."""


def abstentions(concepts: pl.DataFrame, min_precision: float) -> dict[str, str]:
    """Return the concepts that are not called at a precision, sorted, with the reasons.

    Parameters
    ----------
    concepts : polars.DataFrame
        ``concepts.parquet`` of a bundle.
    min_precision : float
        What concepts must meet to be called (`calibration.called`).
    """
    tuned = "abstains" in concepts.columns
    missing: dict[str, pl.Expr] = {} if tuned else {"abstains": pl.lit(None, pl.String)}
    low = pl.col("call_precision_low").cast(pl.Float64).fill_nan(None)
    calls_itself = called(concepts, min_precision)
    table = with_caller(concepts).with_columns(
        met=pl.lit(calls_itself) & can_call(),
        implied=pl.lit(meets(concepts, min_precision) & ~calls_itself),
        bar=highest_bar(concepts),
        low=low,
        **missing,
    )
    reason = (
        pl.when(~can_call())
        .then(pl.coalesce("abstains", pl.lit(NO_LATENT)))
        .when(pl.col("low").is_null())
        .then(pl.lit(UNMEASURED))
        .when(pl.col("implied"))
        .then(pl.lit(IMPLIED))
        .when(pl.col("low") >= min_precision)  # only the annotator's word is against it
        .then(pl.col("abstains"))
        .otherwise(
            pl.format(
                "the interval of its precision begins at {}, {} is asked for",
                pl.col("low").round(3),
                pl.lit(min_precision),
            )
        )
    )
    silent = (
        table.with_columns(reason=reason)
        .sort("bar", descending=True, nulls_last=True)
        .group_by("concept", maintain_order=True)
        .agg(pl.col("met").any(), pl.col("reason").first())
        .filter(~pl.col("met"))
        .sort("concept")
    )
    return dict(silent.select("concept", "reason").iter_rows())
