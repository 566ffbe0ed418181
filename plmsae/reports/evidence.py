"""What is known about a feature, collected before anybody says what it means."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csc_array, csr_array, vstack

from plmsae.concepts.features.patterns import ACTIVE, activation_patterns
from plmsae.core.errors import InputError

N_LEVELS = 10
"""Activation levels are tenths of the maximum; the last one includes the maximum itself."""

FLANK = 15
"""Residues shown on either side of the peak."""

# What readers are told of a latent's pattern where the name in the tables is short.
_PATTERNS = {
    "dead": "none",
    "whole": "whole protein",
    "short": "short motif",
    "medium": "medium motif",
    "long": "long motif",
}
_LOGO_FLANK = 7  # residues of the logo on either side of the peak
_TOP = 8  # proteins shown of the top level
_STRONG = 0.5  # a peak from this level on tells which residues a feature likes


@dataclass(frozen=True, kw_only=True)
class ConceptScore:
    """How well a feature detects one concept, on proteins it was not chosen on."""

    concept: str
    """Name of the concept."""
    f1: float
    """Harmonic mean of precision (by residue) and recall (by instance)."""
    precision: float | None
    """Share of the active residues that carry the concept."""
    recall: float | None
    """Share of the instances of the concept that are hit."""
    threshold: float
    """Share of the feature's maximum from which it counts as active."""


@dataclass(frozen=True, kw_only=True)
class ProteinExample:
    """One protein on which the feature fires, around the place where it fires most."""

    accession: str
    """Its accession."""
    description: str
    """Its name, from whoever supplied the proteins; not to be trusted."""
    length: int
    """In residues."""
    activation: float
    """Largest activation in it, as a share of the feature's maximum, in [0, 1]."""
    peak: int
    """Where that is; 1-based."""
    active: tuple[tuple[int, int], ...]
    """Runs of active residues in the whole protein (at most 12); 1-based, inclusive."""
    window_start: int
    """Position of the first residue of the window; 1-based."""
    window: str
    """The sequence around the peak."""
    activations: tuple[float, ...]
    """Scaled activation of each residue of the window, in [0, 1]."""
    labels: tuple[str, ...]
    """Known labels on active residues or the peak: ``Domain: SH3 10..64``."""
    labels_at_peak: tuple[str, ...] = ()
    """Those of them that contain the peak."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """Proteins whose largest activation lies in one tenth of the range."""

    low: float
    """Lower bound, included."""
    high: float
    """Upper bound, excluded; included in the last level, or the strongest would be lost."""
    n_proteins: int
    """How many."""
    accessions: tuple[str, ...]
    """A few of them, the strongest first."""


@dataclass(frozen=True, kw_only=True)
class ResidueShare:
    """How often an amino acid stands at the peak."""

    residue: str
    """One-letter code."""
    share: float
    """Share of the peaks."""
    fold: float
    """The same over its share in all residues looked at."""


@dataclass(frozen=True, kw_only=True)
class FeatureEvidence:
    """Everything that is shown, to a reader or to a language model, about one feature."""

    latent: int
    """Its index in the SAE; 0-based."""
    density: float
    """Share of all residues of the reference set on which it is not zero."""
    max_activation: float
    """Its maximum there; all levels are shares of it."""
    n_proteins: int
    """Proteins looked at here."""
    n_active: int
    """Those in which it is active (at least 0.15 of its maximum)."""
    concepts: tuple[ConceptScore, ...]
    """Concepts it detects, best first."""
    examples: tuple[ProteinExample, ...]
    """The strongest proteins, then one for each lower level, strongest first."""
    levels: tuple[Level, ...]
    """The ten levels from low to high."""
    residues: tuple[ResidueShare, ...]
    """Amino acids at strong peaks, most common first (at most 6)."""
    logo: tuple[Mapping[str, float], ...]
    """For each offset from -7 to +7 around strong peaks, the share of each amino acid."""
    n_peaks: int
    """Number of strong peaks, one for each protein, behind `residues` and `logo`."""
    pattern: str
    """How it fires along a protein, as `concepts.features.patterns` tells it: ``point``,
    ``periodic``, ``short motif``, ``medium motif``, ``long motif``, ``whole protein`` or
    ``none``."""
    run_length: float
    """Longest run of active residues in a protein, the median over proteins."""
    coverage: float
    """Share of a protein that is active, the mean over proteins."""

    def to_json(self) -> dict[str, Any]:
        """Everything, in types that JSON has."""
        return dataclasses.asdict(self)


def build_evidence(
    features: pl.DataFrame,
    concepts: pl.DataFrame,
    latents: Sequence[csr_array],
    accessions: Sequence[str],
    sequences: Sequence[str],
    labels: pl.DataFrame | None,
    *,
    latents_to_report: int,
    descriptions: Mapping[str, str] | None = None,
) -> list[FeatureEvidence]:
    """Collect the evidence on the top features.

    The best feature of each concept comes first, by F1; then the features that share a concept with
    a better one; then those without a concept, by how often they are active. Dead features never.

    Parameters
    ----------
    features : polars.DataFrame
        The bundle's ``features.parquet``: at least ``latent``, ``density``, ``max_activation``,
        ``concept``, ``threshold``, ``f1``, ``precision``, ``recall``; ``dead`` is honoured.
    concepts : polars.DataFrame
        The bundle's ``concepts.parquet``: at least ``concept``, ``best_latent``,
        ``best_threshold``, ``f1``.
    latents : sequence of csr_array, shape=(length, F)
        Sparse activations of each protein, one row a residue.
    accessions, sequences : sequence of str
        Of the same proteins, in the same order.
    labels : polars.DataFrame or None
        A label table (``accession``, ``start``, ``end``, ``concept``; 1-based, inclusive).
    latents_to_report : int
        How many features.
    descriptions : mapping, optional
        Name of each protein, by accession.

    Raises
    ------
    InputError
        If the three sequences do not belong together, or nothing is to be reported.
    """
    _check(latents, accessions, sequences, latents_to_report)
    chosen = top_latents(features, latents_to_report)
    if not chosen:
        return []
    rows = {row["latent"]: row for row in features.iter_rows(named=True)}
    # Cut out before stacking: the whole would be F / len(chosen) times as large.
    parts = [csr_array(array[:, chosen]) for array in latents]
    patterns = activation_patterns(
        parts, [rows[latent]["max_activation"] for latent in chosen], min_proteins=1
    ).rows(named=True)
    cut = csc_array(vstack(parts, format="csc"))
    background = Counter("".join(sequences))
    known = _labels_by_protein(labels)
    bounds = np.concatenate(([0], np.cumsum([len(sequence) for sequence in sequences])))
    found = []
    for i, latent in enumerate(chosen):
        # One dense column at a time: 4 bytes a residue, however many features are reported.
        column = cut[:, [i]].toarray().ravel().astype(np.float32)
        scaled = np.clip(column / rows[latent]["max_activation"], 0.0, 1.0)
        values = [scaled[low:high] for low, high in itertools.pairwise(bounds)]
        found.append(
            _evidence(
                rows[latent] | patterns[i] | {"latent": latent},
                _scores(rows[latent], concepts),
                values,
                accessions,
                sequences,
                known,
                descriptions or {},
                background,
            )
        )
    return found


def top_latents(features: pl.DataFrame, n: int) -> list[int]:
    """Choose the features to report; see `build_evidence` for the order."""
    alive = features.filter(
        (pl.col("max_activation") > 0)
        & ~(
            pl.col("dead").fill_null(value=False)
            if "dead" in features.columns
            else pl.lit(value=False)
        )
    )
    ranked = alive.sort(
        ["f1", "density", "latent"], descending=[True, True, False], nulls_last=True
    ).with_columns(
        rank=pl.when(pl.col("concept").is_null())
        .then(2)
        .otherwise((pl.int_range(pl.len()).over("concept") > 0).cast(pl.Int32))
    )
    best = ranked.sort("rank", maintain_order=True)["latent"].head(n)
    return [int(latent) for latent in best]


def level_of(scaled: float) -> int:
    """Return the level, 0 to 9, of a scaled activation in [0, 1]; 1.0 belongs to the last."""
    return min(int(scaled * N_LEVELS), N_LEVELS - 1)


def _check(
    latents: Sequence[csr_array], accessions: Sequence[str], sequences: Sequence[str], n: int
) -> None:
    if n < 1:
        raise InputError("at least one feature is to be reported", value=str(n))
    if not latents:
        raise InputError("there are no proteins to take evidence from")
    if not len(latents) == len(accessions) == len(sequences):
        raise InputError(
            f"{len(latents)} arrays of latents, {len(accessions)} accessions and "
            f"{len(sequences)} sequences do not belong together"
        )
    for array, accession, sequence in zip(latents, accessions, sequences, strict=True):
        if array.shape[0] != len(sequence):
            raise InputError(
                f"{array.shape[0]} rows of latents for {len(sequence)} residues", record=accession
            )


def _scores(row: Mapping[str, Any], concepts: pl.DataFrame) -> tuple[ConceptScore, ...]:
    scores = {}
    if row.get("concept") is not None:
        scores[row["concept"]] = _score(row, row["threshold"], row.get("precision"))
    for other in concepts.filter(pl.col("best_latent") == row["latent"]).iter_rows(named=True):
        score = _score(other, other["best_threshold"], other.get("precision_residue"))
        scores.setdefault(other["concept"], score)
    return tuple(sorted(scores.values(), key=lambda score: (-score.f1, score.concept)))


def _score(row: Mapping[str, Any], threshold: float, precision: float | None) -> ConceptScore:
    return ConceptScore(
        concept=str(row["concept"]),
        f1=_finite(row["f1"]) or 0.0,
        precision=_finite(precision),
        recall=_finite(row.get("recall")),
        threshold=_finite(threshold) or 0.0,
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 4)


def _labels_by_protein(labels: pl.DataFrame | None) -> dict[str, list[tuple[int, int, str]]]:
    known: dict[str, list[tuple[int, int, str]]] = {}
    if labels is not None:
        for accession, start, end, concept in labels.select(
            "accession", "start", "end", "concept"
        ).iter_rows():
            known.setdefault(accession, []).append((start, end, concept))
    return known


def _evidence(
    row: Mapping[str, Any],
    scores: tuple[ConceptScore, ...],
    values: list[npt.NDArray[np.float32]],
    accessions: Sequence[str],
    sequences: Sequence[str],
    known: Mapping[str, list[tuple[int, int, str]]],
    descriptions: Mapping[str, str],
    background: Counter[str],
) -> FeatureEvidence:
    maxima = np.array([v.max(initial=0.0) for v in values])
    order = [int(p) for p in np.argsort(-maxima, kind="stable") if maxima[p] > 0]
    by_level: list[list[int]] = [[] for _ in range(N_LEVELS)]
    for protein in order:
        by_level[level_of(maxima[protein])].append(protein)
    levels = tuple(
        Level(
            low=i / N_LEVELS,
            high=(i + 1) / N_LEVELS,
            n_proteins=len(members),
            accessions=tuple(accessions[p] for p in members[: _TOP if i == N_LEVELS - 1 else 2]),
        )
        for i, members in enumerate(by_level)
    )
    top = order[:_TOP]
    shown = top + [members[0] for members in by_level[::-1] if members and members[0] not in top]
    examples = tuple(
        _example(p, accessions[p], sequences[p], values[p], known, descriptions) for p in shown
    )
    strong = [p for p in order if maxima[p] >= _STRONG]
    peaks = [(sequences[p], int(values[p].argmax())) for p in strong]
    return FeatureEvidence(
        latent=int(row["latent"]),
        density=float(row["density"]),
        max_activation=float(row["max_activation"]),
        n_proteins=len(accessions),
        n_active=int((maxima >= ACTIVE).sum()),
        concepts=scores,
        examples=examples,
        levels=levels,
        residues=_residues(peaks, background),
        logo=_logo(peaks),
        n_peaks=len(peaks),
        pattern=_PATTERNS.get(row["pattern"], row["pattern"]),
        run_length=row["median_run"] or 0.0,
        coverage=round(row["coverage"] or 0.0, 4),
    )


def runs(active_N: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return start and end of each run of True, 0-based and half-open, in order: (R, 2)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], active_N, [False])).astype(np.int8)))
    return edges.reshape(-1, 2).astype(np.int64)


def _example(
    protein: int,
    accession: str,
    sequence: str,
    values: npt.NDArray[np.float32],
    known: Mapping[str, list[tuple[int, int, str]]],
    descriptions: Mapping[str, str],
) -> ProteinExample:
    peak = int(values.argmax())
    low, high = max(0, peak - FLANK), min(len(sequence), peak + FLANK + 1)
    active = values >= ACTIVE
    active[peak] = True
    labels = [
        (f"{concept} {start}..{end}", start <= peak + 1 <= end)
        for start, end, concept in known.get(accession, ())
        if active[start - 1 : end].any()
    ]
    return ProteinExample(
        accession=accession,
        description=" ".join(descriptions.get(accession, "").split())[:200],
        length=len(sequence),
        activation=round(float(values[peak]), 4),
        peak=peak + 1,
        active=tuple((int(a) + 1, int(b)) for a, b in runs(active)[:12]),
        window_start=low + 1,
        window=sequence[low:high],
        activations=tuple(round(float(v), 3) for v in values[low:high]),
        labels=tuple(dict.fromkeys(label for label, _ in labels)),
        labels_at_peak=tuple(dict.fromkeys(label for label, there in labels if there)),
    )


def _residues(
    peaks: Sequence[tuple[str, int]], background: Counter[str]
) -> tuple[ResidueShare, ...]:
    counts = Counter(sequence[peak] for sequence, peak in peaks)
    total = background.total()
    return tuple(
        ResidueShare(
            residue=residue,
            share=round(n / len(peaks), 4),
            fold=round(n / len(peaks) / (background[residue] / total), 2),
        )
        for residue, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:6]
    )


def _logo(peaks: Sequence[tuple[str, int]]) -> tuple[Mapping[str, float], ...]:
    columns = []
    for offset in range(-_LOGO_FLANK, _LOGO_FLANK + 1):
        counts = Counter(
            sequence[peak + offset]
            for sequence, peak in peaks
            if 0 <= peak + offset < len(sequence)
        )
        total = counts.total()
        columns.append({aa: round(n / total, 4) for aa, n in sorted(counts.items())})
    return tuple(columns)
