"""A sparse logistic probe for each concept: when one latent is not enough, which few are.

L1-penalised logistic regression on scaled latents, fitted on a strong penalty first and loosened
until held-out log loss stops improving or the latents allowed are used up, so that a call can still
be explained by naming them. The same probe on raw activations
(:func:`plmsae.concepts.baselines.signed_units`) is the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from plmsae.concepts.calibrators import Calibrator, fit_calibrator, log_loss
from plmsae.concepts.latents import Int64
from plmsae.errors import InputError

PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Inverse strengths to try, strongest first (scikit-learn's C, on at most `max_rows` rows)."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A linear score over a few latents, and its calibration."""

    latents: tuple[int, ...]
    """The latents it reads."""
    weights: tuple[float, ...]
    """Of the scaled activations."""
    offset: float
    calibrator: Calibrator

    def score(self, scaled: csr_array) -> npt.NDArray[np.float64]:
        """Return the log-odds before calibration, shape=(N,)."""
        if not self.latents:
            return np.full(scaled.shape[0], self.offset)
        columns = csr_array(scaled)[:, list(self.latents)]
        score: npt.NDArray[np.float64] = columns @ np.asarray(self.weights) + self.offset
        return score

    def probability(self, scaled: csr_array) -> npt.NDArray[np.float64]:
        """Return the calibrated probability of each row, shape=(N,)."""
        return self.calibrator(self.score(scaled))


def fit_probe(
    scaled: csr_array,
    truth_N: npt.ArrayLike,
    fold_N: npt.ArrayLike,
    *,
    group_N: npt.ArrayLike | None = None,
    max_latents: int = 20,
    max_rows: int = 20_000,
    penalties: Sequence[float] = PENALTIES,
    seed: int = 0,
) -> Probe:
    """Fit one concept's probe.

    Parameters
    ----------
    scaled : csr_array, shape=(N, F)
        Scaled activations of residues (or proteins).
    truth_N : array_like of bool, shape=(N,)
        Which rows carry the concept.
    fold_N : array_like of str, shape=(N,)
        ``fit``, ``select`` or ``calibrate`` for each row, by homology cluster; other rows are left
        alone. The weights are fitted on the first, the penalty is chosen on the second, the
        probabilities on the third.
    group_N : array_like, optional, shape=(N,)
        Homology cluster of each row, for the choice of calibrator.
    max_latents : int
        At most so many non-zero weights.
    max_rows : int
        Of ``fit``, all positive rows up to half of this are used and as many others as fit in, at
        random; the calibration, on unsampled rows, sets the base rate right.
    penalties : sequence of float
        Inverse penalties, ascending.
    seed : int
        Of the sample.

    Raises
    ------
    InputError
        If a fold lacks positive or negative rows.
    """
    truth, fold = np.asarray(truth_N, dtype=bool), np.asarray(fold_N)
    rows = {name: np.flatnonzero(fold == name) for name in ("fit", "select", "calibrate")}
    for name, members in rows.items():
        positive = int(truth[members].sum())
        if not 0 < positive < len(members):
            raise InputError(
                f"a probe needs rows with and without the concept in {name!r}",
                value=f"{positive} of {len(members)}",
            )
    sample = _sample(rows["fit"], truth, max_rows, np.random.default_rng(seed))
    # Latents that never fire on a positive row cannot argue for the concept: leave them out.
    fires = csr_array(scaled[sample[truth[sample]]])
    candidates = np.flatnonzero(np.bincount(fires.indices, minlength=scaled.shape[1]) >= 2)
    weights, offset = _fit_path(scaled, truth, sample, rows["select"], candidates, penalties,
                                max_latents, seed)  # fmt: skip
    used = np.flatnonzero(weights)
    latents, kept = candidates[used], weights[used]
    held = rows["calibrate"]
    score = csr_array(scaled[held])[:, latents] @ kept + offset
    groups = None if group_N is None else np.asarray(group_N)[held]
    return Probe(
        latents=tuple(latents.tolist()),
        weights=tuple(kept.tolist()),
        offset=float(offset),
        calibrator=fit_calibrator(score, truth[held], groups, seed=seed),
    )


def _fit_path(
    scaled: csr_array,
    truth: npt.NDArray[np.bool_],
    sample: Int64,
    select: Int64,
    candidates: Int64,
    penalties: Sequence[float],
    max_latents: int,
    seed: int,
) -> tuple[npt.NDArray[np.float64], float]:
    """Loosen the penalty while it helps on `select`; return the weights of the candidates."""
    from sklearn.linear_model import LogisticRegression

    best = np.zeros(len(candidates)), 0.0
    if not len(candidates):
        return best
    train = csr_array(scaled[sample])[:, candidates]
    held = csr_array(scaled[select])[:, candidates]
    # The sample is not at the base rate: shift the log-odds before judging on `select`.
    rate = truth[select].mean()
    sampled = truth[sample].mean()
    shift = np.log(rate / (1 - rate)) - np.log(sampled / (1 - sampled))
    lowest = log_loss(np.full(len(select), rate), truth[select])
    for penalty in penalties:
        model = LogisticRegression(
            C=penalty, l1_ratio=1.0, solver="liblinear", random_state=seed, max_iter=300
        )
        model.fit(train, truth[sample])
        weights = model.coef_[0]
        if np.count_nonzero(weights) > max_latents:
            break
        odds = held @ weights + model.intercept_[0] + shift
        loss = log_loss(np.clip(1 / (1 + np.exp(-odds)), 1e-9, 1 - 1e-9), truth[select])
        if loss < lowest:
            lowest, best = loss, (weights.copy(), float(model.intercept_[0]))
    return best


def _sample(
    rows: Int64, truth: npt.NDArray[np.bool_], max_rows: int, rng: np.random.Generator
) -> Int64:
    positive, negative = rows[truth[rows]], rows[~truth[rows]]
    n_positive = min(len(positive), max_rows // 2)
    n_negative = min(len(negative), max_rows - n_positive)
    return np.sort(
        np.concatenate(
            [
                rng.choice(positive, n_positive, replace=False),
                rng.choice(negative, n_negative, replace=False),
            ]
        )
    )
