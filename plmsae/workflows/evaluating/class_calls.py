"""The precision of classes beside their members: of the calls that are left to them.

A call of ``Domain`` is left out where ``Domain: SH3`` is called (`scoring.hierarchy`). What is left
to the class are the calls that no member makes, which are right less often than all its calls. So
for a class with members that may be called, precision is measured again on what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from plmsae.concepts.labels.label_holdout import class_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from plmsae.concepts.association.evidence import Split
    from plmsae.concepts.calling.callers import Callers

LEFT_OVER = (
    "call_precision", "call_precision_low", "call_precision_high", "n_calls", "true_calls",
    "false_calls", "call_precision_touch", "call_precision_residue",
)  # fmt: skip
REASON = "its calls where no member of the class is called are not right often enough"


def measure_left_over(
    concepts: pl.DataFrame,
    callers: Callers,
    report: Split,
    scale_F: NDArray[np.float32],
    min_precision: float,
) -> pl.DataFrame:
    """Measure classes again on the calls that their members leave to them.

    Parameters
    ----------
    concepts : polars.DataFrame
        As registered, in the order of the labels of `report`.
    callers : Callers
        Of the model.
    report : Split
        Where it is measured.
    scale_F : ndarray, shape=(F,)
        The scale of each latent.
    min_precision : float
        At which it is decided who may be called.

    Returns
    -------
    polars.DataFrame
        With `LEFT_OVER` of such classes replaced; those that no longer reach the precision abstain.
        A class of which no call is left keeps its numbers, which are of all its calls, and gets
        ``implied_at``: the highest precision at which its members still make all of them.
    """
    from plmsae.concepts.calling.calibration import highest_bar, meets
    from plmsae.concepts.calling.call_calibration import make_calls
    from plmsae.concepts.calling.measuring import measure
    from plmsae.scoring.hierarchy import keep_most_specific

    names = concepts["concept"].to_list()
    calls = make_calls(concepts.filter(meets(concepts, min_precision)), callers, report, scale_F)
    calls = calls.with_columns(pl.col("protein").cast(pl.String).alias("accession"))
    kept = keep_most_specific(calls)
    if kept.height == calls.height:
        return concepts
    before, after = (dict(part.group_by("concept").len().iter_rows()) for part in (calls, kept))
    implied = [name for name in before if name not in after]
    if implied:
        # Members are callable up to their own bars; below the lowest of these nothing changes.
        bars = concepts.select(
            class_of(pl.col("concept")).alias("class"), "concept", bar=highest_bar(concepts)
        ).filter((pl.col("class") != pl.col("concept")) & pl.col("concept").is_in(list(after)))
        lowest = dict(bars.group_by("class").agg(pl.col("bar").min()).iter_rows())
        at = [lowest.get(name) if name in implied else None for name in names]
        concepts = concepts.with_columns(pl.Series("implied_at", at, dtype=pl.Float64))
    changed = [name for name in names if 0 < after.get(name, 0) < before.get(name, 0)]
    measured = measure(concepts.select("concept", "kind"), kept, report)
    which = pl.col("concept").is_in(changed)
    again = concepts.with_columns(
        pl.when(which).then(measured[name].cast(concepts.schema[name])).otherwise(pl.col(name))
        .alias(name)
        for name in LEFT_OVER if name in concepts.columns
    )  # fmt: skip
    fails = which & ~pl.lit(meets(again, min_precision))
    return again.with_columns(
        pl.when(fails).then(pl.lit(REASON)).otherwise(pl.col("abstains")).alias("abstains"),
        pl.when(fails).then(min_precision).otherwise(pl.col("abstains_at")).alias("abstains_at"),
    )
