"""How well predicted activations agree with measured ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from plmsae.concepts.features.patterns import ACTIVE
from plmsae.reports.testing.samples import Families

Role = Literal["active", "silent", "relative"]

BAR = 0.5
"""A claim whose predictions correlate less than this with what is measured is unverified. InterPLM
reports a median of 0.72 for Claude's descriptions (Simon and Zou 2025)."""


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
    detection: float | None
    """Balanced accuracy of separating active proteins (from 0.15 of the maximum) from silent ones;
    None without silent ones."""
    relatives: float | None
    """Share of the pairs of a strongly active protein and a hard negative that are ranked right,
    ties counting half; None without hard negatives."""
    predictions: tuple[Prediction, ...]
    """Each held-back protein."""

    @property
    def holds(self) -> bool:
        """Whether r reaches `BAR`."""
        return self.r >= BAR


def score_predictions(
    predictions: Sequence[Prediction], *, predictor: str, basis: str, families: Families
) -> PredictionTest:
    """Compare predictions with what was measured."""
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
        detection=_rounded(detection_accuracy(predictions)),
        relatives=_rounded(ranked_right(predictions)),
        predictions=tuple(predictions),
    )


def pearson_r(predicted: Sequence[float], observed: Sequence[float]) -> float:
    """Return Pearson's correlation; 0 if either side does not vary."""
    a, b = np.asarray(predicted, dtype=float), np.asarray(observed, dtype=float)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def detection_accuracy(predictions: Sequence[Prediction]) -> float | None:
    """Return the mean of the shares of active and of silent proteins that are predicted right."""
    active = [p.predicted >= ACTIVE for p in predictions if p.observed >= ACTIVE]
    silent = [p.predicted < ACTIVE for p in predictions if p.role == "silent"]
    if not active or not silent:
        return None
    return (sum(active) / len(active) + sum(silent) / len(silent)) / 2


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
