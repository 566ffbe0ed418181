"""Collecting the evidence on features: what is known of each."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csc_array, csr_array, vstack

from plmsae.concepts.association.tables import is_found
from plmsae.concepts.features.companions import active_residues, firing_together
from plmsae.concepts.features.patterns import ACTIVE, activation_patterns
from plmsae.concepts.latents import scale, stack_rows
from plmsae.core.errors import InputError
from plmsae.reports.choosing import top_latents
from plmsae.reports.evidence import (
    FLANK,
    Companion,
    ConceptScore,
    FeatureEvidence,
    Level,
    ProteinExample,
    ProteinMetadata,
    ResidueShare,
    SilentProtein,
)
from plmsae.reports.testing.rules import SampledProtein, best_rule
from plmsae.reports.testing.samples import (
    N_LEVELS,
    STRONG,
    TOP,
    Homology,
    Side,
    choose_sides,
    levels_of,
    strongest_first,
)
from plmsae.reports.testing.scores import Role

# What readers are shown of a latent's pattern where the name in the tables is short.
_PATTERNS = {
    "dead": "none",
    "whole": "whole protein",
    "short": "short motif",
    "medium": "medium motif",
    "long": "long motif",
}
_LOGO_FLANK = 7  # residues of the logo on either side of the peak
_RUNS = 12  # runs shown of a protein
_COMPANIONS = 8
_MIN_OVERLAP = 0.01


@dataclass(frozen=True, kw_only=True)
class _Proteins:
    """The proteins looked at, and what is known of them."""

    accessions: Sequence[str]
    sequences: Sequence[str]
    labels: Mapping[str, list[tuple[int, int, str]]]
    metadata: Mapping[str, ProteinMetadata]
    homology: Homology
    background: Counter[str]


@dataclass(frozen=True)
class _Activations:
    """Activations of one latent, as shares of its maximum: in [0, 1], float32."""

    maxima: npt.NDArray[np.float32]
    """The largest in each protein."""
    rows: npt.NDArray[np.int64]
    """Residues of all proteins on which it is above 0, in order."""
    values: npt.NDArray[np.float32]
    bounds: npt.NDArray[np.int64]
    """Where each protein starts, and the number of residues."""

    @classmethod
    def of(
        cls, columns: csc_array, i: int, highest: float, bounds: npt.NDArray[np.int64]
    ) -> _Activations:
        span = slice(columns.indptr[i], columns.indptr[i + 1])
        rows = columns.indices[span].astype(np.int64)
        values = np.clip(columns.data[span].astype(np.float32) / highest, 0.0, 1.0)
        maxima = np.zeros(len(bounds) - 1, dtype=np.float32)
        np.maximum.at(maxima, np.searchsorted(bounds, rows, side="right") - 1, values)
        return cls(maxima, rows, values, bounds)

    def __getitem__(self, protein: int) -> npt.NDArray[np.float32]:
        """Return those of every residue of a protein."""
        low, high = self.bounds[protein : protein + 2]
        there = slice(*np.searchsorted(self.rows, (low, high)))
        dense = np.zeros(high - low, dtype=np.float32)
        dense[self.rows[there] - low] = self.values[there]
        return dense


def build_evidence(
    features: pl.DataFrame,
    concepts: pl.DataFrame,
    latents: Sequence[csr_array],
    accessions: Sequence[str],
    sequences: Sequence[str],
    labels: pl.DataFrame | None,
    *,
    latents_to_report: int,
    metadata: Mapping[str, ProteinMetadata] | None = None,
    homology: Homology | None = None,
) -> list[FeatureEvidence]:
    """Collect the evidence on the features that `choosing.top_latents` chooses.

    Parameters
    ----------
    features : polars.DataFrame
        The bundle's ``features.parquet``: at least ``latent``, ``density``, ``max_activation``,
        ``concept``, ``threshold``, ``f1``, ``f1_select``, ``precision``, ``recall``.
    concepts : polars.DataFrame
        The bundle's ``concepts.parquet``: at least ``concept``, ``best_latent``,
        ``best_threshold``, ``f1``, ``f1_select``.
    latents : sequence of csr_array, shape=(length, F)
        Sparse activations of each protein, one row per residue.
    accessions, sequences : sequence of str
        Of the same proteins, in the same order.
    labels : polars.DataFrame or None
        A label table (``accession``, ``start``, ``end``, ``concept``; 1-based, inclusive).
    latents_to_report : int
        How many features.
    metadata : mapping, optional
        Name, organism and terms of each protein, by accession.
    homology : Homology, optional
        Which proteins are related. Without it all are taken as unrelated.

    Raises
    ------
    InputError
        If the three sequences do not belong together, or nothing is to be reported.
    """
    _check(latents, accessions, sequences, latents_to_report)
    chosen = top_latents(features, concepts, latents_to_report)
    if not chosen:
        return []
    rows = {row["latent"]: row for row in features.iter_rows(named=True)}
    # Cut out before stacking: the whole would be F / len(chosen) times as large.
    parts = [csr_array(array[:, chosen]) for array in latents]
    patterns = activation_patterns(
        parts, [rows[latent]["max_activation"] for latent in chosen], min_proteins=1
    ).rows(named=True)
    cut = csc_array(vstack(parts, format="csc"))
    proteins = _Proteins(
        accessions=accessions,
        sequences=sequences,
        labels=_labels_by_protein(labels),
        metadata=metadata or {},
        homology=homology or Homology.unrelated(len(sequences)),
        background=Counter("".join(sequences)),
    )
    n_labelled = None if labels is None else _proteins_by_concept(proteins)
    companions = _companions(latents, chosen, features)
    bounds = np.concatenate(([0], np.cumsum([len(sequence) for sequence in sequences])))
    return [
        _evidence(
            rows[latent] | patterns[i] | {"latent": latent},
            _scores(rows[latent], concepts, n_labelled),
            _Activations.of(cut, i, rows[latent]["max_activation"], bounds),
            proteins,
            companions[i],
        )
        for i, latent in enumerate(chosen)
    ]


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


def _proteins_by_concept(proteins: _Proteins) -> Counter[str]:
    """Count the proteins looked at that are labelled with each concept."""
    own = (proteins.labels.get(accession, ()) for accession in proteins.accessions)
    return Counter(concept for labels in own for concept in {concept for _, _, concept in labels})


def _scores(
    row: Mapping[str, Any], concepts: pl.DataFrame, n_labelled: Counter[str] | None
) -> tuple[ConceptScore, ...]:
    scores = {}
    if row.get("concept") is not None:
        scores[row["concept"]] = _score(row, row["threshold"], row.get("precision"))
    for other in concepts.filter(pl.col("best_latent") == row["latent"]).iter_rows(named=True):
        score = _score(other, other["best_threshold"], other.get("precision_residue"))
        same = scores.setdefault(other["concept"], score)
        if same.threshold == score.threshold:  # the pair that the intervals are of
            scores[other["concept"]] = dataclasses.replace(
                same, f1_low=_finite(other.get("f1_low")), f1_high=_finite(other.get("f1_high"))
            )
    known = "n_instances" in concepts.columns
    counts = dict(concepts.select("concept", "n_instances").iter_rows()) if known else {}
    counted = [
        dataclasses.replace(
            score,
            n_instances=counts.get(concept),
            n_labelled=None if n_labelled is None else n_labelled[concept],
        )
        for concept, score in scores.items()
    ]
    # Of equal ones a member ("Repeat: TPR") stands before its class ("Repeat").
    counted.sort(key=lambda score: score.concept, reverse=True)
    return tuple(sorted(counted, key=lambda score: (not score.detected, -score.f1)))


def _score(row: Mapping[str, Any], threshold: float, precision: float | None) -> ConceptScore:
    return ConceptScore(
        concept=str(row["concept"]),
        f1=_finite(row["f1"]) or 0.0,
        f1_select=_finite(row["f1_select"]) or 0.0,
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


def _companions(
    latents: Sequence[csr_array], chosen: Sequence[int], features: pl.DataFrame
) -> list[tuple[Companion, ...]]:
    """Find the features that fire on the same residues as each chosen one."""
    highest_F = np.zeros(latents[0].shape[1])
    highest_F[features["latent"].to_numpy()] = features["max_activation"].to_numpy()
    active_NF = stack_rows([active_residues(scale(array, highest_F)) for array in latents])
    found = features.filter(is_found(pl.col("f1"), pl.col("f1_select")))
    concepts = dict(found.select("latent", "concept").iter_rows())
    return [
        tuple(
            Companion(
                latent=other.latent,
                concept=concepts.get(other.latent),
                overlap=other.jaccard,
                n_residues=other.n_residues,
            )
            for other in companions
            if other.jaccard >= _MIN_OVERLAP
        )
        for companions in firing_together(active_NF, chosen, n=_COMPANIONS)
    ]


def _evidence(
    row: Mapping[str, Any],
    scores: tuple[ConceptScore, ...],
    values: _Activations,
    proteins: _Proteins,
    companions: tuple[Companion, ...],
) -> FeatureEvidence:
    accessions, sequences = proteins.accessions, proteins.sequences
    maxima = values.maxima
    sides = choose_sides(maxima, proteins.homology, seed=int(row["latent"]))
    held_out = _sampled(sides.held_out, values, proteins) if sides.held_out else ()
    hidden = {protein.accession for protein in held_out}
    order = [p for p in strongest_first(maxima).tolist() if accessions[p] not in hidden]
    level_of_protein = levels_of(maxima)
    by_level: list[list[int]] = [[] for _ in range(N_LEVELS)]
    for protein in order:
        by_level[level_of_protein[protein]].append(protein)
    counts = np.bincount(level_of_protein[maxima > 0], minlength=N_LEVELS)
    levels = tuple(
        Level(
            low=i / N_LEVELS,
            high=(i + 1) / N_LEVELS,
            n_proteins=int(counts[i]),
            accessions=tuple(accessions[p] for p in members[: TOP if i == N_LEVELS - 1 else 2]),
        )
        for i, members in enumerate(by_level)
    )
    strong = [p for p in order if maxima[p] >= STRONG]
    peaks = [(sequences[p], int(values[p].argmax())) for p in strong]
    rule_test = None
    if held_out:
        rule_test = best_rule(
            [score.concept for score in scores],
            _sampled(sides.shown, values, proteins),
            held_out,
            proteins.background,
            families=sides.families,
        )
    return FeatureEvidence(
        latent=int(row["latent"]),
        density=float(row["density"]),
        max_activation=float(row["max_activation"]),
        n_proteins=len(accessions),
        n_active=int((maxima >= ACTIVE).sum()),
        concepts=scores,
        examples=tuple(_example(p, values[p], proteins) for p in sides.shown.active),
        silent=_silent(sides.shown, maxima, proteins),
        companions=companions,
        levels=levels,
        residues=_residues(peaks, proteins.background),
        logo=_logo(peaks),
        n_peaks=len(peaks),
        pattern=_PATTERNS.get(row["pattern"], row["pattern"]),
        run_length=row["median_run"] or 0.0,
        coverage=round(row["coverage"] or 0.0, 4),
        held_out=held_out,
        rule_test=rule_test,
    )


def _sampled(side: Side, values: _Activations, proteins: _Proteins) -> tuple[SampledProtein, ...]:
    """Gather what a predictor may be given about the proteins of a side, and what it is to find."""
    roles: list[tuple[Role, tuple[int, ...]]] = [
        ("active", side.active),
        ("silent", side.silent),
        ("relative", side.relatives),
    ]
    found = []
    for role, members in roles:
        for p in members:
            accession = proteins.accessions[p]
            about = proteins.metadata.get(accession, ProteinMetadata())
            labels = proteins.labels.get(accession, ())
            activation = float(values.maxima[p])
            found.append(
                SampledProtein(
                    accession=accession,
                    name=about.name,
                    organism=about.organism,
                    terms=about.terms,
                    labels=tuple(
                        dict.fromkeys(f"{concept} {start}..{end}" for start, end, concept in labels)
                    ),
                    concepts=tuple(dict.fromkeys(concept for _, _, concept in labels)),
                    sequence=proteins.sequences[p],
                    activation=round(activation, 4),
                    peak=int(values[p].argmax()) + 1 if activation > 0 else 0,
                    role=role,
                )
            )
    return tuple(found)


def _silent(
    side: Side, maxima: npt.NDArray[np.float32], proteins: _Proteins
) -> tuple[SilentProtein, ...]:
    return tuple(
        SilentProtein(
            accession=accession,
            description=about.name,
            organism=about.organism,
            activation=round(float(maxima[p]), 4),
            is_relative=is_relative,
            concepts=tuple(
                dict.fromkeys(concept for _, _, concept in proteins.labels.get(accession, ()))
            ),
        )
        for is_relative, members in ((False, side.silent), (True, side.relatives))
        for p in members
        for accession in (proteins.accessions[p],)
        for about in (proteins.metadata.get(accession, ProteinMetadata()),)
    )


def runs(active_N: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return start and end of each run of True, 0-based and half-open, in order: (R, 2)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], active_N, [False])).astype(np.int8)))
    return edges.reshape(-1, 2).astype(np.int64)


def _example(protein: int, values: npt.NDArray[np.float32], proteins: _Proteins) -> ProteinExample:
    accession, sequence = proteins.accessions[protein], proteins.sequences[protein]
    about = proteins.metadata.get(accession, ProteinMetadata())
    peak = int(values.argmax())
    low, high = max(0, peak - FLANK), min(len(sequence), peak + FLANK + 1)
    active = values >= ACTIVE
    active[peak] = True
    labels = [
        (f"{concept} {start}..{end}", start <= peak + 1 <= end)
        for start, end, concept in proteins.labels.get(accession, ())
        if active[start - 1 : end].any()
    ]
    return ProteinExample(
        accession=accession,
        description=about.name,
        organism=about.organism,
        terms=about.terms[:12],
        length=len(sequence),
        activation=round(float(values[peak]), 4),
        peak=peak + 1,
        active=_strongest_runs(values, active),
        window_start=low + 1,
        window=sequence[low:high],
        activations=tuple(round(float(v), 3) for v in values[low:high]),
        labels=tuple(dict.fromkeys(label for label, _ in labels)),
        labels_at_peak=tuple(dict.fromkeys(label for label, there in labels if there)),
    )


def _strongest_runs(
    values: npt.NDArray[np.float32], active: npt.NDArray[np.bool_]
) -> tuple[tuple[int, int], ...]:
    found = runs(active)
    peaks = np.array([values[start:end].max() for start, end in found])
    kept = np.sort(np.argsort(-peaks, kind="stable")[:_RUNS])
    return tuple((int(start) + 1, int(end)) for start, end in found[kept])


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
