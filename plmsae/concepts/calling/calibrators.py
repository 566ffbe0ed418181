"""From scores to probabilities that mean what they say.

Two maps, both monotone: Platt's sigmoid (Platt 1999) and isotonic regression (Zadrozny & Elkan, KDD
2002). Which one, is decided by held-out log loss. A calibrator is two small arrays, so that it is
stored as JSON and never as a pickle.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.core.errors import InputError

Float64 = npt.NDArray[np.float64]
_EPSILON = 1e-6  # no score proves anything beyond one in a million


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """A monotone map from scores to probabilities."""

    method: Literal["platt", "isotonic"]
    x: tuple[float, ...]
    """Slope and offset (Platt), or the knots' scores (isotonic)."""
    y: tuple[float, ...] = ()
    """The knots' probabilities (isotonic)."""

    def __call__(self, score: npt.ArrayLike) -> Float64:
        """Return the probability of each score."""
        values = np.asarray(score, dtype=np.float64)
        if self.method == "platt":
            exponent = np.clip(self.x[0] * values + self.x[1], -50, 50)
            probability = 1 / (1 + np.exp(-exponent))
        else:
            probability = np.interp(values, self.x, self.y)
        return np.clip(probability, _EPSILON, 1 - _EPSILON)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and strings."""
        return {"method": self.method, "x": list(self.x), "y": list(self.y)}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Calibrator:
        """Read what :meth:`to_dict` wrote.

        Raises
        ------
        InputError
            If the method is unknown or the numbers do not fit it.
        """
        method, x, y = stored.get("method"), stored.get("x", ()), stored.get("y", ())
        numbers = isinstance(x, list | tuple) and isinstance(y, list | tuple)
        numbers = numbers and all(isinstance(n, int | float) and math.isfinite(n) for n in (*x, *y))
        fits = numbers and (
            (method == "platt" and len(x) == 2 and not len(y) and x[0] >= 0)
            or (
                method == "isotonic"
                and 1 <= len(x) == len(y)
                and _ascends(x)
                and _ascends(y)
                and 0 <= y[0] <= y[-1] <= 1
            )
        )
        if not fits:
            raise InputError("this is no stored calibrator", value=str(method))
        return cls(method=method, x=tuple(map(float, x)), y=tuple(map(float, y)))  # type: ignore[arg-type]


def fit_calibrator(
    score: npt.ArrayLike,
    truth: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    method: Literal["auto", "platt", "isotonic"] = "auto",
    folds: int = 5,
    seed: int = 0,
) -> Calibrator:
    """Fit a calibrator, choosing its kind by held-out log loss.

    Parameters
    ----------
    score, truth : array_like, shape=(n,)
        Scores, and whether the thing was there.
    groups : array_like, optional, shape=(n,)
        Homology clusters: kept together in the folds.
    method : {"auto", "platt", "isotonic"}
        ``auto`` fits both on all folds but one, and takes the one that loses less on the fold left
        out, summed over folds; Platt if they tie.

    Raises
    ------
    InputError
        If all outcomes are alike: there is nothing to calibrate on.
    """
    x, t = np.asarray(score, dtype=np.float64), np.asarray(truth, dtype=bool)
    if len(x) != len(t) or t.all() or not t.any():
        raise InputError(
            f"calibration needs both outcomes, {int(t.sum())} of {len(t)} are positive"
        )
    if method == "auto":
        group = np.arange(len(x)) if groups is None else np.asarray(groups)
        names, member = np.unique(group, return_inverse=True)
        fold = np.random.default_rng(seed).integers(0, folds, len(names))[member]
        loss = {"platt": 0.0, "isotonic": 0.0}
        for number in range(folds):
            train, held = fold != number, fold == number
            if not held.any() or t[train].all() or not t[train].any():
                continue
            for name in loss:
                loss[name] += (
                    log_loss(_fit(name, x[train], t[train])(x[held]), t[held]) * held.sum()
                )
        method = "isotonic" if loss["isotonic"] < loss["platt"] else "platt"
    return _fit(method, x, t)


def log_loss(probability: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return the mean negative log-likelihood, in nats."""
    p, t = np.asarray(probability, dtype=np.float64), np.asarray(truth, dtype=bool)
    return float(-np.mean(np.log(np.where(t, p, 1 - p))))


def reliability(probability: npt.ArrayLike, truth: npt.ArrayLike, n_bins: int = 10) -> pl.DataFrame:
    """Return the reliability curve over equally wide bins of probability.

    Returns
    -------
    polars.DataFrame
        ``bin_low``, ``bin_high``, ``n``, ``mean_probability``, ``frequency``; empty bins left out.
        A probability of exactly 1 belongs to the top bin.
    """
    p, t = np.asarray(probability, dtype=np.float64), np.asarray(truth, dtype=bool)
    place = np.minimum((p * n_bins).astype(np.int64), n_bins - 1)
    n = np.bincount(place, minlength=n_bins)
    some = np.flatnonzero(n)
    return pl.DataFrame(
        {
            "bin_low": some / n_bins,
            "bin_high": (some + 1) / n_bins,
            "n": n[some].astype(np.int64),
            "mean_probability": np.bincount(place, weights=p, minlength=n_bins)[some] / n[some],
            "frequency": np.bincount(place, weights=t, minlength=n_bins)[some] / n[some],
        }
    )


def expected_calibration_error(curve: pl.DataFrame) -> float:
    """Return the mean gap between probability and frequency of a reliability curve (ECE)."""
    gap = (curve["mean_probability"] - curve["frequency"]).abs().to_numpy()
    n = curve["n"].to_numpy()
    return float((gap * n).sum() / max(int(n.sum()), 1))


def _fit(method: str, x: Float64, t: npt.NDArray[np.bool_]) -> Calibrator:
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        model = IsotonicRegression(y_min=0, y_max=1).fit(x, t.astype(np.float64))
        knots = zip(*(model.X_thresholds_.tolist(), model.y_thresholds_.tolist()), strict=True)
        scores, chances = zip(*knots, strict=True)
        return Calibrator(method="isotonic", x=scores, y=chances)
    if method != "platt":
        raise InputError("the calibration must be auto, platt or isotonic", value=method)
    # Platt's targets: they keep a clean split from an infinite slope.
    high, low = (t.sum() + 1) / (t.sum() + 2), 1 / ((~t).sum() + 2)
    return Calibrator(method="platt", x=_sigmoid_fit(x, np.where(t, high, low)))


def _sigmoid_fit(x: Float64, target: Float64) -> tuple[float, float]:
    """Return slope and offset of the sigmoid with the least log loss; the slope is 0 or more.

    Newton's method with halved steps, on standardised scores (Lin, Lin & Weng, Machine Learning 68,
    2007), to the same numbers on every machine up to rounding.
    """
    centre, spread = float(x.mean()), float(x.std()) or 1.0
    z = (x - centre) / spread
    mean = float(target.mean())
    slope, offset = 0.0, math.log(mean / (1 - mean))

    def loss(a: float, b: float) -> float:
        u = a * z + b
        return float((np.logaddexp(0, u) - target * u).sum())

    now = loss(slope, offset)
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(slope * z + offset, -50, 50)))
        gap, weight = p - target, np.maximum(p * (1 - p), 1e-12)
        g_a, g_b = float((gap * z).sum()), float(gap.sum())
        h_aa, h_ab = float((weight * z * z).sum()) + 1e-9, float((weight * z).sum())
        h_bb = float(weight.sum()) + 1e-9
        determinant = h_aa * h_bb - h_ab**2
        step_a = (h_bb * g_a - h_ab * g_b) / determinant
        step_b = (h_aa * g_b - h_ab * g_a) / determinant
        size = 1.0
        while size > 1e-10 and (new := loss(slope - size * step_a, offset - size * step_b)) > now:
            size /= 2
        if size <= 1e-10 or now - new < 1e-10 * max(now, 1.0):
            break
        slope, offset, now = slope - size * step_a, offset - size * step_b, new
    if slope <= 0:
        # A higher score must not mean a lower chance: then the score says nothing.
        return 0.0, math.log(mean / (1 - mean))
    return slope / spread, offset - slope * centre / spread


def _ascends(values: Sequence[float]) -> bool:
    return all(a <= b for a, b in itertools.pairwise(values))
