"""The probability that a single call is right, from its score; and whether that holds.

The precision of a concept is one number for all its calls. A calibrator says how much more a strong
call is worth than a weak one: Platt's sigmoid or isotonic regression from the score of a call to
the chance that it is right (`calling.matching`, `calling.calibrators`). It is fitted on select: of
a probe on the folds that taught no weights, of a latent on calls of latents that were chosen on
other folds (`calling.crossfit`). It is measured on report by reliability and expected
calibration error (ECE; Guo et al., ICML 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.concepts.association.evidence import Split
from plmsae.concepts.calling.calibration import wilson_interval
from plmsae.concepts.calling.calibrators import (
    Calibrator,
    expected_calibration_error,
    fit_calibrator,
    reliability,
)
from plmsae.concepts.calling.callers import Caller, Callers
from plmsae.concepts.calling.calls import Segments
from plmsae.concepts.calling.matching import match_calls
from plmsae.concepts.calling.probes import Probe

MIN_CALLS, MIN_OUTCOMES = 20, 3
"""A calibrator with a slope needs that many calls, and that many right and wrong ones."""


def fit_calibrators(
    concepts: pl.DataFrame,
    probes: dict[str, Probe],
    held_out: Split,
    max_activation_F: npt.ArrayLike,
    *,
    segments: Segments | None = None,
    seed: int = 0,
) -> dict[str, Calibrator]:
    """Fit one calibrator a concept that makes calls.

    Parameters
    ----------
    held_out : Split
        Proteins of the select split that taught no weights, with clusters.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent.
    segments : mapping of str to SegmentModel, optional
        Of the concepts whose decoder is ``segments``.
    seed : int
        Of the choice between the kinds.

    Returns
    -------
    dict of str to Calibrator
        Where calls are few or all alike, a constant: the mean with one right and one wrong call
        added (Laplace). A concept without a call has none.
    """
    calls = make_calls(
        concepts, Callers(probes=probes, segments=segments or {}), held_out, max_activation_F
    )
    return calibrators_of(calls, held_out, seed=seed)


def calibrators_of(calls: pl.DataFrame, held_out: Split, *, seed: int = 0) -> dict[str, Calibrator]:
    """Fit calibrators, as :func:`fit_calibrators`, to calls made on the proteins of `held_out`."""
    right = match_calls(calls, held_out.labels).right_K
    cluster = None if held_out.clusters is None else np.asarray(held_out.clusters)
    calls = calls.with_columns(pl.Series("right", right)).with_row_index("row")
    protein, score = calls["protein"].to_numpy(), calls["score"].to_numpy()
    found = {}
    for concept, rows in calls.group_by("concept").agg("row").sort("concept").iter_rows():
        mine = np.asarray(rows, dtype=np.int64)
        truth = right[mine]
        n_right = int(truth.sum())
        outcomes = min(n_right, len(mine) - n_right)
        if len(mine) >= MIN_CALLS and outcomes >= MIN_OUTCOMES:
            groups = None if cluster is None else cluster[protein[mine]]
            found[concept] = fit_calibrator(score[mine], truth, groups, seed=seed)
        else:
            odds = math.log((n_right + 1) / (len(mine) - n_right + 1))
            found[concept] = Calibrator(method="platt", x=(0.0, odds))
    return found


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Whether the probabilities hold on report."""

    curve: pl.DataFrame
    """`calibrators.reliability` over all calls, with the 95 % Wilson interval
    ``low``, ``high`` of the frequency."""
    ece: float
    """Expected calibration error; NaN without a call."""
    n_calls: int
    """Calls with a probability."""


def judge(
    concepts: pl.DataFrame, callers: Callers, report: Split, max_activation_F: npt.ArrayLike
) -> Reliability:
    """Compare the probabilities of calls on report with what became of them."""
    calls = make_calls(concepts, callers, report, max_activation_F)
    right = match_calls(calls, report.labels).right_K
    probability = calls["probability"].to_numpy()
    known = ~np.isnan(probability)
    curve = reliability(probability[known], right[known])
    n = curve["n"].to_numpy()
    low, high = wilson_interval(curve["frequency"].to_numpy() * n, n)
    return Reliability(
        curve=curve.with_columns(pl.Series("low", low), pl.Series("high", high)),
        ece=expected_calibration_error(curve) if known.any() else math.nan,
        n_calls=int(known.sum()),
    )


def make_calls(
    concepts: pl.DataFrame, callers: Callers, split: Split, max_activation_F: npt.ArrayLike
) -> pl.DataFrame:
    """Return the calls on the proteins of a split, each with its ``probability``."""
    caller = Caller(concepts, callers, max_activation_F)
    calls = caller.calls_of(split.latents)
    return calls.with_columns(caller.probability(calls))
