"""The precision of proposals: that of their concept's calls where the table has no label."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from plmsae.concepts.calling.calibration import highest_bar
from plmsae.concepts.labels.missing_labels import share_by_concept, unlabelled_precision

_KEY = ("concept", "precision", "precision_low")


def proposal_precision(
    calls: pl.DataFrame,
    concepts: pl.DataFrame,
    missing_share: float,
    missing_shares: Mapping[str, float] | None = None,
) -> pl.DataFrame:
    """Replace the precision of calls in general by that of calls where the table has no label.

    Needed are the precision of calls and its interval, which every bundle has, and the share of
    calls that touch a label; without that, no wrong call is taken to touch one, and the
    precision is lower.

    Parameters
    ----------
    calls : DataFrame
        Annotations on which the table has no label; ``precision`` and ``precision_low`` are those
        of the concept's calls in general.
    concepts : DataFrame
        The bundle's ``concepts.parquet``, where the upper end is.
    missing_share : float
        Share of the true labels that the table lacks, in (0, 1].
    missing_shares : mapping of str to float, optional
        The same for concepts and classes of which more is known, in [0, 1].

    Returns
    -------
    DataFrame
        With ``call_precision`` (what ``precision`` was), and ``precision``, ``precision_low`` and
        ``precision_high`` of proposals: a lower bound, see `labels.missing_labels`. The
        ``probability`` of each call, if there is one, is turned by the same rule, and so is
        ``bar``, the highest precision to ask for at which the concept may be called.
    """
    measured = concepts.select(
        "concept",
        bar=highest_bar(concepts),
        touching=_wrong_that_touch(concepts),
        precision=pl.col("call_precision").cast(pl.Float64).fill_nan(None),
        precision_low=pl.col("call_precision_low").cast(pl.Float64).fill_nan(None),
        precision_high=pl.col("call_precision_high").cast(pl.Float64).fill_nan(None),
    ).unique(_KEY, keep="first", maintain_order=True)
    joined = calls.join(measured, on=_KEY, how="left", maintain_order="left")
    touching = pl.col("touching").fill_null(0.0)
    ends = ("precision", "precision_low", "precision_high", "bar")
    share = share_by_concept(missing_share, missing_shares)
    own = pl.col("probability").cast(pl.Float64)
    single = [unlabelled_precision(own, share, touching).cast(pl.Float32).alias("probability")]
    return joined.with_columns(
        pl.col("precision").alias("call_precision"),
        *(unlabelled_precision(pl.col(name), share, touching).alias(name) for name in ends),
        *(single if "probability" in calls.columns else []),
    ).drop("touching")


def _wrong_that_touch(concepts: pl.DataFrame) -> pl.Expr:
    """Return the share of each concept's wrong calls that touch a label; null where unknown."""
    if "call_precision_touch" not in concepts.columns:
        return pl.lit(None, pl.Float64)
    right = pl.col("call_precision").cast(pl.Float64).fill_nan(None)
    touch = pl.col("call_precision_touch").cast(pl.Float64).fill_nan(None)
    return pl.when(right < 1).then(((touch - right) / (1 - right)).clip(0, 1))


def is_trusted(min_precision: float) -> pl.Expr:
    """Return whether the precision was measured and its ``bar`` is high enough; never null."""
    measured = pl.col("precision").is_not_null() & pl.col("precision_low").is_not_null()
    return measured & (pl.col("bar") >= min_precision).fill_null(False)
