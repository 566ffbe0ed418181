"""A sparse logistic probe for a concept: when one latent is not enough, which few are.

L1-penalised logistic regression (Tibshirani 1996) on scaled latents. The penalty starts where only
one latent is left and is loosened until the log loss on other families stops falling or the latents
allowed are used up, so that a call can still be explained by naming them.

**A probe is one more latent.** What is kept of it is a weighted sum of a few latents, less a
constant, and zero where that is negative: an activation like any other, scaled to a maximum of 1 on
the proteins it was fitted on. Thresholds, span rules, calls and calibration treat it as they treat
a latent, and it needs no exponential, so that scores do not depend on the machine's rounding.

**Sampling.** Most residues carry nothing and no candidate fires on them. Of the residues without
the concept, those where a good candidate fires (they decide the precision) and the others are two
strata, each sampled and weighted back to its size, so that the base rate stays what it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csc_array, csr_array

from plmsae.concepts.latents import Float32, Int64, expand, scale
from plmsae.core.errors import InputError

RATIOS = (3.0, 8.0, 20.0, 50.0, 120.0, 300.0)
"""Penalties to try, as divisors of the one that lets no latent in."""

FLOOR = -4.0
"""Log-odds at which a probe falls silent: about 2 %."""

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A latent made of a few others."""

    latents: tuple[int, ...]
    """The latents it reads, ascending."""
    weights: tuple[float, ...]
    """Of their scaled activations."""
    constant: float
    """What is taken off the weighted sum; 0 or more, so that it is silent where they are."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers."""
        return {
            "latents": list(self.latents),
            "weights": list(self.weights),
            "constant": self.constant,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], d_sae: int) -> Probe:
        """Read what :meth:`to_dict` wrote.

        Raises
        ------
        InputError
            If a field is missing or of the wrong type, a latent is outside the SAE, or a number is
            not finite.
        """
        latents, weights = stored.get("latents"), stored.get("weights")
        constant: Any = stored.get("constant")
        good = (
            set(stored) == {"latents", "weights", "constant"}
            and isinstance(latents, list)
            and isinstance(weights, list)
            and 1 <= len(latents) == len(weights)
            and all(type(n) is int and 0 <= n < d_sae for n in latents)
            and all(a < b for a, b in itertools.pairwise(latents))
            and all(isinstance(w, int | float) and np.isfinite(w) for w in [*weights, constant])
            and constant >= 0
        )
        if not good:
            raise InputError(f"this is no stored probe of an SAE of {d_sae} latents")
        return cls(
            latents=tuple(latents or ()),
            weights=tuple(map(float, weights or ())),
            constant=float(constant or 0),
        )


def probe_activations(
    latents: csr_array, probes: Sequence[Probe], max_activation_F: npt.ArrayLike
) -> csr_array:
    """Return how strongly each probe fires on each row.

    Parameters
    ----------
    latents : csr_array, shape=(N, F)
        Raw activations.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent.

    Returns
    -------
    csr_array, shape=(N, Q), dtype=float32
        Each row follows from that row alone: the same numbers whatever else is in the batch.
    """
    used = np.unique([n for probe in probes for n in probe.latents]).astype(np.int64)
    narrow = _columns(latents, used, np.asarray(max_activation_F, dtype=np.float32))
    weights = np.concatenate([probe.weights for probe in probes]) if probes else np.zeros(0)
    rows = np.searchsorted(used, [n for probe in probes for n in probe.latents])
    columns = np.repeat(np.arange(len(probes)), [len(probe.latents) for probe in probes])
    weights_UQ = csr_array(coo_array((weights, (rows, columns)), shape=(len(used), len(probes))))
    summed = csr_array(narrow.astype(np.float64) @ weights_UQ)
    constant = np.array([probe.constant for probe in probes])
    fires = np.maximum(summed.data - constant[summed.indices], 0).astype(np.float32)
    found = csr_array((fires, summed.indices, summed.indptr), shape=summed.shape)
    found.eliminate_zeros()
    found.sort_indices()
    return found


def contributions(
    latents: csr_array, probe: Probe, max_activation_F: npt.ArrayLike, start_K: Int64, end_K: Int64
) -> list[list[int]]:
    """Name the latents that support each of a probe's calls, the strongest first.

    Parameters
    ----------
    latents : csr_array, shape=(N, F)
        Raw activations.
    probe, max_activation_F
        As for :func:`probe_activations`.
    start_K, end_K : ndarray of int, shape=(K,)
        Rows of each call, half-open.

    Returns
    -------
    list of list of int
        By the sum over the rows of weight times scaled activation; only those above zero.
    """
    used = np.asarray(probe.latents, dtype=np.int64)
    narrow = _columns(latents, used, np.asarray(max_activation_F, dtype=np.float32))
    first = np.cumsum(end_K - start_K) - (end_K - start_K)
    spoken = narrow[expand(start_K, end_K)].toarray() * np.asarray(probe.weights)
    share_KU = np.add.reduceat(spoken, first, axis=0) if len(first) else spoken
    order_KU = np.argsort(-share_KU, axis=1, kind="stable")
    return [
        used[order[share[order] > 0]].tolist()
        for order, share in zip(order_KU, share_KU, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class ProbeRows:
    """Residues on which a probe is fitted or judged."""

    scaled: csr_array
    """Scaled activations, shape (N, F)."""
    by_latent: csc_array
    """The same by column."""

    @classmethod
    def of(cls, scaled: csr_array) -> ProbeRows:
        """Index the columns once for all concepts."""
        return cls(scaled=scaled, by_latent=scaled.tocsc())

    def firing(self, latents: Int64) -> Int64:
        """Return the rows on which any of `latents` fires, ascending."""
        columns = self.by_latent
        parts = [columns.indices[columns.indptr[f] : columns.indptr[f + 1]] for f in latents]
        return np.unique(np.concatenate(parts)).astype(np.int64) if parts else np.zeros(0, np.int64)


def fit_probe(
    fit: ProbeRows,
    truth_N: npt.NDArray[np.bool_],
    tune: ProbeRows,
    tune_truth_N: npt.NDArray[np.bool_],
    candidates: Int64,
    *,
    max_latents: int = 32,
    max_rows: int = 6_000,
    ratios: Sequence[float] = RATIOS,
    seed: int = 0,
) -> Probe | None:
    """Fit one concept's probe.

    Parameters
    ----------
    fit, tune : ProbeRows
        Residues on which the weights are fitted, and others, of other families, on which the
        penalty is chosen.
    truth_N, tune_truth_N : ndarray of bool
        Which of their rows carry the concept.
    candidates : ndarray of int
        Latents it may use, best first.
    max_latents : int
        At most this many non-zero weights.
    max_rows : int
        Rows of `fit` that are used at most: positives up to half, then the two strata of others.
    ratios : sequence of float
        Penalties, as divisors of the smallest one that lets nothing in; ascending.

    Returns
    -------
    Probe or None
        None where no latent helps on `tune`, or rows of one kind are missing.
    """
    counts = (int(truth_N.sum()), int(tune_truth_N.sum()))
    if not len(candidates) or not counts[0] or not counts[1] or counts[0] == len(truth_N):
        return None
    columns = np.sort(candidates)
    rows, weight = _sample(fit, truth_N, candidates, max_rows, np.random.default_rng(seed))
    x = csr_array(fit.scaled[rows])[:, columns]
    # Rows of `tune` where no candidate fires are one and the same row: judged once, with a weight.
    some = tune.firing(columns)
    held = csr_array(tune.scaled[some])[:, columns]
    silent = np.ones(len(tune_truth_N), dtype=bool)
    silent[some] = False
    quiet = (int(tune_truth_N[silent].sum()), int((~tune_truth_N[silent]).sum()))
    best = _fit_path(
        x, truth_N[rows], weight, held, tune_truth_N[some], quiet, ratios, max_latents, seed
    )
    if best is None:
        return None
    weights, offset = best
    kept = np.flatnonzero(weights)
    constant = max(0.0, FLOOR - offset)
    # Nothing that is not above the constant anywhere is a probe.
    highest = max(
        float((m[:, kept] @ weights[kept]).max(initial=0)) for m in (x, held) if m.shape[0]
    )
    if highest - constant <= 1e-6:
        return None
    size = highest - constant
    return Probe(
        latents=tuple(columns[kept].tolist()),
        weights=tuple((weights[kept] / size).tolist()),
        constant=constant / size,
    )


def rank_candidates(mask_CN: csr_array, scaled: csr_array, n_best: int) -> npt.NDArray[np.int64]:
    """Return the latents whose mean on labelled residues stands out most, for each concept.

    Parameters
    ----------
    mask_CN : csr_array, shape=(C, N)
        Which rows carry which concept.
    scaled : csr_array, shape=(N, F)
        Scaled activations.
    n_best : int
        How many at most.

    Returns
    -------
    ndarray of int64, shape=(C, n_best)
        Best first, by the z-score of the mean against all residues; -1 where there are no more.
    """
    n_rows, n_latents = scaled.shape
    n_best = min(n_best, n_latents)
    mean_F = np.asarray(scaled.sum(axis=0)) / max(n_rows, 1)
    squared = csr_array((scaled.data**2, scaled.indices, scaled.indptr), shape=scaled.shape)
    spread_F = np.sqrt(np.maximum(np.asarray(squared.sum(axis=0)) / max(n_rows, 1) - mean_F**2, 0))
    found = np.full((mask_CN.shape[0], n_best), -1, dtype=np.int64)
    for first in range(0, mask_CN.shape[0], 64):
        block = csr_array(mask_CN[first : first + 64]).astype(np.float32)
        size = np.maximum(np.diff(block.indptr), 1)[:, None]
        rise = (block @ scaled).toarray() / size - mean_F
        z = np.divide(rise * np.sqrt(size), spread_F, out=np.zeros(rise.shape), where=spread_F > 0)
        order = np.argsort(-z, axis=1, kind="stable")[:, :n_best]
        good = np.take_along_axis(z, order, axis=1) > 0
        found[first : first + 64] = np.where(good, order, -1)
    return found


def _columns(latents: csr_array, used: Int64, scale_F: Float32) -> csr_array:
    narrow = csr_array(csr_array(latents)[:, used])
    narrow.sort_indices()  # a fixed order of summation
    return scale(narrow, scale_F[used])


def _sample(
    fit: ProbeRows,
    truth: npt.NDArray[np.bool_],
    candidates: Int64,
    max_rows: int,
    rng: np.random.Generator,
) -> tuple[Int64, Float64]:
    """Draw rows, and the number of rows that each stands for."""
    hard = np.zeros(len(truth), dtype=bool)
    hard[fit.firing(candidates[:5])] = True
    strata = [
        (np.flatnonzero(truth), max_rows // 2),
        (np.flatnonzero(hard & ~truth), max_rows // 3),
        (np.flatnonzero(~hard & ~truth), max_rows // 6),
    ]
    rows, weights = [], []
    for members, most in strata:
        n = min(len(members), most)
        if n:
            rows.append(rng.choice(members, n, replace=False))
            weights.append(np.full(n, len(members) / n))
    return np.concatenate(rows), np.concatenate(weights)


def _fit_path(
    x: csr_array,
    truth: npt.NDArray[np.bool_],
    weight: Float64,
    held: csr_array,
    held_truth: npt.NDArray[np.bool_],
    quiet: tuple[int, int],
    ratios: Sequence[float],
    max_latents: int,
    seed: int,
) -> tuple[Float64, float] | None:
    """Loosen the penalty while it helps on the rows held out; return weights and offset."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    rate = float(weight[truth].sum() / weight.sum())
    strongest = float(np.abs(x.T @ (weight * (truth - rate))).max(initial=0))
    if strongest <= 0:
        return None
    lowest = _log_loss(np.full(len(held_truth), _logit(rate)), held_truth, _logit(rate), quiet)
    best = None
    for ratio in ratios:
        # A large intercept scale keeps the penalty off the intercept, which carries the base rate.
        model = LogisticRegression(
            C=ratio / strongest, l1_ratio=1.0, solver="liblinear", intercept_scaling=20.0,
            tol=1e-3, max_iter=200, random_state=seed,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, truth, sample_weight=weight)
        weights, offset = model.coef_[0], float(model.intercept_[0])
        if np.count_nonzero(weights) > max_latents:
            break
        loss = _log_loss(held @ weights + offset, held_truth, offset, quiet)
        if loss >= lowest:
            if best is not None:
                break
            continue
        lowest, best = loss, (weights.astype(np.float64), offset)
    return best


def _log_loss(
    odds: Float64, truth: npt.NDArray[np.bool_], silent: float, quiet: tuple[int, int]
) -> float:
    """Return the summed loss of rows, and of the silent rows (with, without the concept)."""
    loss = np.logaddexp(0, np.where(truth, -odds, odds)).sum()
    return float(loss + quiet[0] * np.logaddexp(0, -silent) + quiet[1] * np.logaddexp(0, silent))


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))
