"""How well predicted activations agree with measured ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from plmsae.concepts.calling.calibration import wilson_interval
from plmsae.concepts.features.patterns import ACTIVE
from plmsae.reports.testing.samples import Families

Role = Literal["active", "silent", "relative"]

BAR = 0.5
"""A claim whose predictions correlate less than this with what is measured is unverified. InterPLM
reports a median of 0.72 for Claude's descriptions (Simon and Zou 2025)."""
CHANCE = 0.5
"""Balanced accuracy of a predictor that knows nothing."""
VERIFIED = (
    f"Words are verified if they predict the activation in proteins held back with r of {BAR:.2f} "
    "or more, and tell active from silent proteins better than chance: the lower end of the 95 % "
    f"interval of detection is above {CHANCE:.2f}. Where no silent protein could be held back, "
    "detection is not tested and r decides alone. Words that name what the evidence does not show "
    "are never verified."
)
"""What `plmsae.reports.report.FeatureReport.verified` means, as pages say it."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One held-back protein."""

    accession: str
    """Its accession."""
    role: Role
    """``active``, ``silent`` or ``relative`` (a hard negative)."""
    observed: float
    """Largest activation in it, as a share of the feature's maximum, in [0, 1]."""
    predicted: float
    """The same as predicted, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class PredictionTest:
    """What became of predicting the activations of the held-back proteins."""

    predictor: str
    """Who predicted: ``rule``, or a Claude model, and what it saw: ``metadata``, ``sequences``."""
    basis: str
    """The rule, or what the predictor was given, in words."""
    families: Families
    """Whether the proteins held back are of other families than those shown."""
    r: float
    """Pearson correlation of predicted and measured activation over the active and the silent
    proteins, in [-1, 1]; 0 if the predictions are all the same."""
    r_low: float
    """Lower end of its 95 % interval, by Fisher's transformation."""
    r_high: float
    """Upper end."""
    cut: float
    """Predicted activation from which a protein is predicted to fire: of a rule the one that does
    best on the proteins shown; of a predictor that states activations itself `ACTIVE`."""
    detection: float | None
    """Balanced accuracy of separating active proteins (from 0.15 of the maximum) from silent ones
    by `cut`; 0.5 is chance. None without either."""
    detection_low: float | None
    """Lower end of its 95 % interval."""
    detection_high: float | None
    """Upper end."""
    relatives: float | None
    """Share of the pairs of an active protein and a hard negative that are ranked right, ties
    counting half; None without either."""
    n_active: int
    """Proteins held back that are active (from 0.15 of the maximum)."""
    n_silent: int
    """Those on which it is 0 everywhere."""
    n_relatives: int
    """Hard negatives."""
    predictions: tuple[Prediction, ...]
    """Each held-back protein."""

    @property
    def detects(self) -> bool:
        """Whether detection is above `CHANCE` with its interval, or could not be tested."""
        return self.detection_low is None or self.detection_low > CHANCE

    @property
    def holds(self) -> bool:
        """Whether r reaches `BAR` and detection is above chance: see `VERIFIED`."""
        return self.r >= BAR and self.detects


def score_predictions(
    predictions: Sequence[Prediction],
    *,
    predictor: str,
    basis: str,
    families: Families,
    cut: float = ACTIVE,
) -> PredictionTest:
    """Compare predictions with what was measured."""
    found = _detected(predictions, cut)
    detection_low, detection_high = _detection_interval(found) or (None, None)
    pairs = [(p.predicted, p.observed) for p in predictions if p.role != "relative"]
    r = pearson_r([a for a, _ in pairs], [b for _, b in pairs])
    low, high = _interval(r, len(pairs))
    return PredictionTest(
        predictor=predictor,
        basis=basis,
        families=families,
        r=round(r, 4),
        r_low=round(low, 4),
        r_high=round(high, 4),
        cut=cut,
        detection=_rounded(detection_accuracy(predictions, cut)),
        detection_low=_rounded(detection_low),
        detection_high=_rounded(detection_high),
        relatives=_rounded(ranked_right(predictions)),
        n_active=len(found.active),
        n_silent=len(found.silent),
        n_relatives=sum(p.role == "relative" for p in predictions),
        predictions=tuple(predictions),
    )


def pearson_r(predicted: Sequence[float], observed: Sequence[float]) -> float:
    """Return Pearson's correlation; 0 if either side does not vary."""
    a, b = np.asarray(predicted, dtype=float), np.asarray(observed, dtype=float)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


class _Detected(NamedTuple):
    """Which of the active and of the silent proteins are predicted right."""

    active: list[bool]
    silent: list[bool]


def _detected(predictions: Sequence[Prediction], cut: float) -> _Detected:
    return _Detected(
        active=[p.predicted >= cut for p in predictions if p.observed >= ACTIVE],
        silent=[p.predicted < cut for p in predictions if p.role == "silent"],
    )


def detection_accuracy(predictions: Sequence[Prediction], cut: float = ACTIVE) -> float | None:
    """Return the mean of the shares of active and of silent proteins that are predicted right.

    A protein is predicted to fire where its predicted activation is `cut` or more.
    """
    found = _detected(predictions, cut)
    if not all(found):
        return None
    return sum(sum(right) / len(right) for right in found) / 2


def best_cut(predictions: Sequence[Prediction]) -> float:
    """Return the cut with the highest `detection_accuracy`; of equals the lowest.

    To be fitted on other proteins than those that are tested. A least-squares line is drawn
    towards the mean, so that its values for silent proteins may all lie above `ACTIVE`. `ACTIVE` is
    returned where there is nothing to fit.
    """
    values = sorted({p.predicted for p in predictions})
    cuts = [*values[:1], *((a + b) / 2 for a, b in itertools.pairwise(values))]
    scored = [(detection_accuracy(predictions, cut), -cut) for cut in cuts]
    known = [(accuracy, cut) for accuracy, cut in scored if accuracy is not None]
    return -max(known)[1] if known else ACTIVE


def _detection_interval(found: _Detected) -> tuple[float, float] | None:
    """Return the 95 % interval of the balanced accuracy, or None without one.

    Of the mean of two independent shares, from the Wilson interval of each (Newcombe, Statistics in
    Medicine 1998, method 10).
    """
    if not all(found):
        return None
    shares = np.array([sum(right) / len(right) for right in found])
    lows, highs = wilson_interval([sum(right) for right in found], [len(right) for right in found])
    low, high = np.hypot(*(shares - lows)) / 2, np.hypot(*(highs - shares)) / 2
    return float(shares.mean() - low), float(shares.mean() + high)


def ranked_right(predictions: Sequence[Prediction]) -> float | None:
    """Return the share of pairs in which the active protein is predicted above the relative."""
    active = [p.predicted for p in predictions if p.role == "active" and p.observed >= ACTIVE]
    relatives = [p.predicted for p in predictions if p.role == "relative"]
    if not active or not relatives:
        return None
    wins = sum((a > b) + 0.5 * (a == b) for a in active for b in relatives)
    return wins / (len(active) * len(relatives))


def _interval(r: float, n: int) -> tuple[float, float]:
    if n <= 3 or abs(r) >= 1:
        return (r, r) if abs(r) >= 1 and n > 3 else (-1.0, 1.0)
    z, half = math.atanh(r), 1.959964 / math.sqrt(n - 3)
    return math.tanh(z - half), math.tanh(z + half)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
