"""Testing a feature without a language model: its best concept, or its best motif, as a rule.

The rule is chosen and fitted on the proteins that are shown, and predicts those held back. It is
what a description must beat to be worth its words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.reports.testing.samples import STRONG, Families
from plmsae.reports.testing.scores import (
    Prediction,
    PredictionTest,
    Role,
    best_cut,
    pearson_r,
    score_predictions,
)

FLANK = 7
"""Residues of a motif on either side of the peak."""
_PSEUDOCOUNTS = 1.0  # shared out by background frequency at each place of the motif

_CODES = np.array([AMINO_ACIDS.find(chr(byte)) for byte in range(256)])  # -1: none of the twenty

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SampledProtein:
    """A protein of the sample, with all that a predictor may be given about it."""

    accession: str
    """Its accession."""
    name: str
    """Its name, from whoever supplied the proteins; not to be trusted."""
    organism: str
    """Likewise."""
    terms: tuple[str, ...]
    """GO terms, keywords, families, EC numbers: where the table has them."""
    labels: tuple[str, ...]
    """Known labels with their places: ``Domain: SH3 10..64``."""
    concepts: tuple[str, ...]
    """The concepts of these labels, each once."""
    sequence: str
    """One-letter codes."""
    activation: float
    """Largest activation in it, as a share of the feature's maximum, in [0, 1]."""
    peak: int
    """Where that is; 1-based; 0 where it is silent."""
    role: Role
    """Why it is in the sample."""


def best_rule(
    concepts: Sequence[str],
    shown: Sequence[SampledProtein],
    held_out: Sequence[SampledProtein],
    background: Mapping[str, int],
    *,
    families: Families,
) -> PredictionTest:
    """Predict the held-back proteins by the rule that does best on the proteins shown.

    Parameters
    ----------
    concepts : sequence of str
        Concepts that the feature detects.
    shown, held_out : sequence of SampledProtein
        The two sides of the sample.
    background : mapping
        Number of each amino acid in all proteins.
    families : {"other", "same"}
        See `plmsae.reports.testing.samples.Sides`.

    Returns
    -------
    PredictionTest
        Of one rule: having one of `concepts`, or the similarity of its best window to the windows
        around strong peaks (log-odds, in which no shown protein is compared with itself). Scores
        become activations by the straight line that fits the proteins shown; from which of them a
        protein is predicted to fire is fitted there too.
    """
    observed = np.array([p.activation for p in shown])
    rules = [_concept_rule(concept, shown) for concept in concepts]
    peaks = [p for p in shown if p.activation >= STRONG]
    if len(peaks) > 1:
        rules.append(_motif_rule(peaks, shown, background))
    rules = rules or [("nothing in common", np.zeros(len(shown)), lambda _protein: 0.0)]
    basis, on_shown, score = max(
        rules, key=lambda rule: pearson_r(rule[1].tolist(), observed.tolist())
    )
    slope, start = _line(on_shown, observed)

    def predicted(proteins: Sequence[SampledProtein], scores: Sequence[float]) -> list[Prediction]:
        return [
            Prediction(
                accession=p.accession,
                role=p.role,
                observed=p.activation,
                predicted=round(min(max(start + slope * x, 0.0), 1.0), 4),
            )
            for p, x in zip(proteins, scores, strict=True)
        ]

    return score_predictions(
        predicted(held_out, [score(p) for p in held_out]),
        predictor="rule",
        basis=basis,
        families=families,
        cut=best_cut(predicted(shown, on_shown.tolist())),
    )


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Return slope and start of the least-squares line; a slope below 0 predicts nothing."""
    variance = float(np.var(x))
    slope = 0.0 if variance == 0 else max(float(np.cov(x, y, bias=True)[0, 1]) / variance, 0.0)
    return slope, float(y.mean() - slope * x.mean())


def _concept_rule(
    concept: str, shown: Sequence[SampledProtein]
) -> tuple[str, Floats, Callable[[SampledProtein], float]]:
    def has(protein: SampledProtein) -> float:
        return float(concept in protein.concepts)

    return f"has {concept}", np.array([has(p) for p in shown]), has


def _motif_rule(
    peaks: Sequence[SampledProtein], shown: Sequence[SampledProtein], background: Mapping[str, int]
) -> tuple[str, Floats, Callable[[SampledProtein], float]]:
    usual = np.array([background.get(aa, 0) + 1.0 for aa in AMINO_ACIDS])
    usual /= usual.sum()
    counts = {p.accession: _window_counts(p) for p in peaks}
    total = sum(counts.values(), np.zeros((2 * FLANK + 1, len(AMINO_ACIDS))))

    def score(protein: SampledProtein) -> float:
        return _best_window(protein.sequence, _log_odds(total, usual))

    # Each protein shown is scored by the windows of the others, or the motif would know it.
    on_shown = np.array(
        [
            _best_window(p.sequence, _log_odds(total - counts.get(p.accession, 0.0), usual))
            for p in shown
        ]
    )
    return f"resembles the motif {_consensus(total, usual)}", on_shown, score


def _window_counts(protein: SampledProtein) -> Floats:
    """Return which amino acid stands at each offset from the peak: (2 FLANK + 1, 20)."""
    found = np.zeros((2 * FLANK + 1, len(AMINO_ACIDS)))
    for i, offset in enumerate(range(-FLANK, FLANK + 1)):
        at = protein.peak - 1 + offset
        if 0 <= at < len(protein.sequence) and protein.sequence[at] in AMINO_ACIDS:
            found[i, AMINO_ACIDS.index(protein.sequence[at])] = 1.0
    return found


def _log_odds(counts: Floats, usual: Floats) -> Floats:
    shares = (counts + _PSEUDOCOUNTS * usual) / (counts.sum(1, keepdims=True) + _PSEUDOCOUNTS)
    odds: Floats = np.log2(shares / usual)
    return odds


def _best_window(sequence: str, weights: Floats) -> float:
    """Return the highest summed log-odds of a window, whose ends may stick out."""
    codes = _CODES[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]
    padded = np.concatenate([np.full(FLANK, -1), codes, np.full(FLANK, -1)])
    weights = np.column_stack([weights, np.zeros(len(weights))])  # -1: unknown, or outside
    scores = np.zeros(len(sequence))
    for i, row in enumerate(weights):
        scores += row[padded[i : i + len(sequence)]]
    return float(scores.max())


def _consensus(counts: Floats, usual: Floats) -> str:
    """Write a motif as ``G-x(4)-G-K-[ST]``: at each place the residues of half the information."""
    places = []
    for row in counts:
        shares = row / row.sum() if row.sum() else row
        likely = [aa for aa, p, u in zip(AMINO_ACIDS, shares, usual, strict=True) if p >= 2 * u]
        bits = sum(p * math.log2(p / u) for p, u in zip(shares, usual, strict=True) if p > 0)
        strong = sorted(likely, key=lambda aa: -shares[AMINO_ACIDS.index(aa)])
        kept: list[str] = []
        while strong and sum(shares[AMINO_ACIDS.index(aa)] for aa in kept) < 0.6:
            kept.append(strong.pop(0))
        covered = sum(shares[AMINO_ACIDS.index(aa)] for aa in kept)
        informative = bits >= 1.5 and covered >= 0.6 and len(kept) <= 4
        places.append(
            "" if not informative else kept[0] if len(kept) == 1 else f"[{''.join(kept)}]"
        )
    while places and not places[0]:
        places.pop(0)
    while places and not places[-1]:
        places.pop()
    text, gap = [], 0
    for place in [*places, "."]:
        if place:
            if gap:
                text.append("x" if gap == 1 else f"x({gap})")
            gap = 0
            text.append(place)
        else:
            gap += 1
    return "-".join(text[:-1]) or "of its peaks"
