"""From latents and labels to the two tables that are registered with a model.

``select`` proteins choose the scale, the pair, the threshold and the span rule; ``report`` proteins
only say how good the choice was. Homologues should not be on both sides: give the clusters, and
this module checks it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.association.bootstrap import Samples
from plmsae.concepts.association.counts import INTERPLM_THRESHOLDS
from plmsae.concepts.association.evidence import Split, gather_evidence
from plmsae.concepts.association.pair_search import PairSearch, search_pairs
from plmsae.concepts.association.tables import headline
from plmsae.concepts.baselines.comparison import Detection, confirm_pairs
from plmsae.concepts.calling.calls import call_all
from plmsae.concepts.calling.matching import Matches, match_calls
from plmsae.concepts.calling.measuring import measure_matches
from plmsae.concepts.calling.span_rules import with_span_rule
from plmsae.concepts.calling.threshold_tuning import CANDIDATES, TunedAnnotator, tune_annotator
from plmsae.concepts.columns import CONCEPT_COLUMNS, needed
from plmsae.concepts.labels.residue_labels import ResidueLabels, build_residue_labels
from plmsae.concepts.latents import (
    Float32,
    Int64,
    firing_rates,
    max_activations,
    same_width,
)
from plmsae.core.errors import InputError

log = logging.getLogger(__name__)

SPLITS = ("select", "report")
COUNTED = ("true_calls", "false_calls", "missed_instances")
"""What the precision of calls is made of, beside the columns that every bundle has."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What the latents of one SAE mean, with the evidence."""

    features: pl.DataFrame
    """One row per latent, dead ones too; the columns of ``features.parquet``."""
    concepts: pl.DataFrame
    """One row an evaluated concept: the columns that ``concepts.parquet`` always has, and
    `COUNTED`. The calls are those of the best latent; `annotator` has others."""
    summary: dict[str, float]
    """Headline numbers, ready to be logged as metrics."""
    calls: pl.DataFrame
    """The calls on the report split: ``accession``, ``start``, ``end``, ``concept``, ``score``,
    ``latent``, ``right`` (by the rule of `calling.matching`), ``touches`` (shares a residue with a
    labelled instance), ``iou``."""
    evidence: pl.DataFrame
    """One row an evaluated concept: the columns of
    `evidence.gather_evidence`, ``q`` (of the best pair on the report split,
    corrected over all pairs), ``n_latents`` (latents at F1 > 0.5 on both splits: more than one, and
    the concept is split among them) and ``n_latents_beyond_chance`` (of these)."""
    annotator: TunedAnnotator | None
    """Where a precision was asked for: how each concept is called."""
    detection: Detection
    """What the latents find: the numbers of features and concepts that are shown anywhere, and all
    pairs at F1 > 0.5 on both splits."""
    skipped: pl.DataFrame
    """Concepts too rare to evaluate: ``concept``, ``n_select``, ``n_report`` (instances)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an evaluation is made."""

    min_instances: int = 10
    """Instances a concept needs on ``select`` to be given a pair; one at least."""
    min_report: int = 5
    """Instances it needs on ``report`` to be measured; one at least."""
    bootstrap: int = 0
    """Samples for intervals of F1; none by default."""
    min_precision: float | None = None
    """Also tune an annotator: for each concept the latent and the rule whose calls reach this
    precision by the lower bound of the interval, chosen on ``select``."""
    seed: int = 0
    """Of the bootstrap."""


def evaluate_residue(
    latents: Sequence[csr_array],
    accessions: Sequence[str],
    labels: pl.DataFrame,
    split: npt.ArrayLike,
    settings: Settings = Settings(),
    *,
    lengths: Sequence[int] | None = None,
    clusters: npt.ArrayLike | None = None,
    sequences: Sequence[str] | None = None,
) -> Evaluation:
    """Find out what the latents of a residue-level SAE detect.

    Parameters
    ----------
    latents : sequence of csr_array, shape=(length, F)
        Raw activations, one array per protein, one row per residue.
    accessions : sequence of str
        The proteins, in the same order.
    labels : polars.DataFrame
        A label table: ``accession``, ``start``, ``end`` (1-based inclusive), ``concept``, ``kind``.
    split : array_like of str, shape=(P,)
        ``select`` or ``report`` for each protein; any other value leaves the protein out.
    settings : Settings
        How rare a concept may be, and what else is to be found out.
    lengths : sequence of int, optional, shape=(P,)
        Residues of each protein, to make sure that no protein was cut on its way through the PLM:
        labels of a whole protein do not fit the activations of a part.
    clusters : array_like of int, optional, shape=(P,)
        Homology clusters: checked against the split, used in the precision interval of calls, and
        drawn whole in the bootstrap.
    sequences : sequence of str, optional, shape=(P,)
        The proteins themselves, for the control for residue identity.

    Returns
    -------
    Evaluation
        In ``features`` and ``concepts``, ``f1_select`` is of the select split; precision, recall,
        F1, calls and the counts ``n_instances``, ``n_residues``, ``n_proteins`` are of the report
        split. ``density`` is the share of all given residues on which a latent fires. The scale of
        a latent is its maximum over the select proteins, so that the report proteins have no say
        in it.

    Raises
    ------
    InputError
        If arrays and names do not match, a split is empty, a cluster spans both splits, or every
        concept is too rare.
    """
    names = np.asarray(split)
    if not len(latents) == len(accessions) == len(names):
        raise InputError(
            f"{len(latents)} arrays of latents, {len(accessions)} accessions, "
            f"{len(names)} entries of the split"
        )
    n_rows = [int(array.shape[0]) for array in latents]
    _check_lengths(accessions, n_rows, lengths)
    cluster_P = None if clusters is None else np.asarray(clusters)
    select_P, report_P = _proteins_of(names, cluster_P)
    all_labels, skipped = _common_enough(
        build_residue_labels(labels, accessions, n_rows),
        select_P,
        report_P,
        (settings.min_instances, settings.min_report),
    )
    select, report = (
        Split(
            latents=[latents[int(i)] for i in proteins],
            labels=all_labels.take(proteins),
            clusters=None if cluster_P is None else cluster_P[proteins],
            sequences=None if sequences is None else [sequences[int(i)] for i in proteins],
        )
        for proteins in (select_P, report_P)
    )
    choice = _choose(select, report, firing_rates(latents, same_width(latents)))
    return _assemble(choice, _measure(choice, select, report, settings), report, skipped)


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """What the select proteins chose, and the F1 of that on the report proteins."""

    scale_F: Float32
    search: PairSearch
    concepts: pl.DataFrame
    """`search.concepts` with the rule by which the best latent of each concept makes calls."""


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What the choice is worth on the report proteins."""

    calls: pl.DataFrame
    matches: Matches
    concepts: pl.DataFrame
    """Of the choice, with what its calls are worth."""
    evidence: pl.DataFrame
    annotator: TunedAnnotator | None
    detection: Detection


def _choose(select: Split, report: Split, density_F: npt.NDArray[np.float64]) -> _Choice:
    scale_F = max_activations(select.latents, len(density_F))
    search = search_pairs(
        (select.latents, select.labels),
        (report.latents, report.labels),
        scale_F,
        density_F,
        INTERPLM_THRESHOLDS,
        n_candidates=CANDIDATES,
    )
    by_best = search.concepts.with_columns(
        pl.col("best_latent").alias("call_latent"), pl.col("best_threshold").alias("call_threshold")
    )
    concepts = with_span_rule(by_best, select.labels)
    return _Choice(scale_F=scale_F, search=search, concepts=concepts)


def _measure(choice: _Choice, select: Split, report: Split, settings: Settings) -> _Measured:
    calls = call_all(report.latents, choice.concepts, choice.scale_F)
    matches = match_calls(calls, report.labels)
    protein_K = calls["protein"].to_numpy()
    measured = measure_matches(
        matches,
        report.labels,
        np.diff(report.labels.offsets_P1)[protein_K],
        None if report.clusters is None else report.clusters[protein_K],
    )
    concepts = pl.concat([choice.concepts, measured], how="horizontal")
    annotator = None
    if settings.min_precision is not None:
        annotator = tune_annotator(
            choice.search.candidates_CR,
            select,
            report,
            choice.scale_F,
            min_precision=settings.min_precision,
        )
    evidence = gather_evidence(
        concepts, select, report, choice.scale_F, draws=settings.bootstrap, seed=settings.seed
    )
    return _Measured(
        calls=calls,
        matches=matches,
        concepts=concepts,
        evidence=evidence,
        annotator=annotator,
        detection=_detect(choice, select, report, settings),
    )


def _detect(choice: _Choice, select: Split, report: Split, settings: Settings) -> Detection:
    both = [*select.latents, *report.latents]
    index = np.arange(len(both))
    n_select = len(select.latents)
    samples = Samples.of(select.cluster_P(), report.cluster_P(), settings.bootstrap, settings.seed)
    return confirm_pairs(
        "sae",
        both.__getitem__,
        (index[:n_select], select.labels),
        (index[n_select:], report.labels),
        choice.scale_F,
        choice.search.promising_Q2,
        samples=samples,
    )


def _assemble(
    choice: _Choice, measured: _Measured, report: Split, skipped: pl.DataFrame
) -> Evaluation:
    search, matches, detection = choice.search, measured.matches, measured.detection
    concepts = measured.concepts.select(*needed(CONCEPT_COLUMNS), *COUNTED)
    confirmed = detection.pairs.group_by("concept").agg(
        pl.len().cast(pl.Int64).alias("n_latents"),
        pl.col("beyond_chance").sum().cast(pl.Int64).alias("n_latents_beyond_chance"),
    )
    proteins = pl.Series("accession", list(report.labels.accessions), dtype=pl.String)
    return Evaluation(
        features=search.features,
        concepts=concepts,
        summary={
            **headline(
                search.features,
                concepts,
                matches.found_I,
                matches.instance_iou_I,
                skipped.height,
            ),
            **detection.metrics(),
            "n_pairs_q_05": search.n_pairs_q_05,
            "n_features_q_05": search.n_features_q_05,
        },
        evidence=measured.evidence.with_columns(
            pl.when(concepts["best_latent"].is_not_null()).then(pl.Series(search.q_C)).alias("q"),
        )
        .join(confirmed, on="concept", how="left", maintain_order="left")
        .with_columns(pl.col("n_latents", "n_latents_beyond_chance").fill_null(0)),
        annotator=measured.annotator,
        detection=detection,
        calls=measured.calls.select(
            proteins.gather(measured.calls["protein"]),
            pl.exclude("protein"),
            pl.Series("right", matches.right_K),
            pl.Series("touches", matches.touches_K),
            pl.Series("iou", matches.call_iou_K),
        ),
        skipped=skipped,
    )


def _check_lengths(
    accessions: Sequence[str], n_rows: Sequence[int], lengths: Sequence[int] | None
) -> None:
    for name, found, expected in zip(
        accessions, n_rows, n_rows if lengths is None else lengths, strict=True
    ):
        if found != expected:
            raise InputError(
                f"activations of {found} residues for a protein of {expected}", record=name
            )


def check_common(
    labels: pl.DataFrame,
    accessions: Sequence[str],
    lengths: Sequence[int],
    split: npt.ArrayLike,
    *,
    min_instances: int,
) -> None:
    """Refuse labels that :func:`evaluate_residue` would refuse, before any latent is there.

    Raises
    ------
    InputError
        As there: labels do not fit the proteins, a split is empty, or every concept is too rare.
    """
    select_P, report_P = _proteins_of(np.asarray(split), None)
    laid = build_residue_labels(labels, accessions, lengths)
    _common_enough(laid, select_P, report_P, (min_instances, Settings.min_report))


def _proteins_of(
    split: npt.NDArray[np.str_], clusters: npt.NDArray[np.integer] | None
) -> tuple[Int64, Int64]:
    members = [np.flatnonzero(split == name) for name in SPLITS]
    for name, proteins in zip(SPLITS, members, strict=True):
        if not len(proteins):
            raise InputError(f"no protein is in the split {name!r}")
    if clusters is not None:
        if len(clusters) != len(split):
            raise InputError(f"{len(clusters)} clusters for {len(split)} proteins")
        both = np.intersect1d(clusters[members[0]], clusters[members[1]])
        if len(both):
            raise InputError(
                f"{len(both)} homology clusters have proteins both in 'select' and in 'report'",
                value=str(both[0]),
                hint="split by cluster",
            )
    return members[0], members[1]


def _common_enough(
    labels: ResidueLabels, select_P: Int64, report_P: Int64, least: tuple[int, int]
) -> tuple[ResidueLabels, pl.DataFrame]:
    """Drop concepts too rare to choose a pair for or to report on."""
    n_select = labels.take(select_P).instances_C()
    n_report = labels.take(report_P).instances_C()
    kept = (n_select >= max(least[0], 1)) & (n_report >= max(least[1], 1))
    skipped = pl.DataFrame(
        {"concept": list(labels.concepts), "n_select": n_select, "n_report": n_report},
        schema={"concept": pl.String, "n_select": pl.Int64, "n_report": pl.Int64},
    ).filter(~kept)
    if not kept.any():
        most = f"{int(n_select.max())} and {int(n_report.max())}" if len(n_select) else "no label"
        raise InputError(
            f"no concept has {least[0]} instances on select proteins and {least[1]} on report",
            value=f"at most {most}",
            hint="use more proteins, or a lower minimum of instances",
        )
    if skipped.height:
        log.info("%d of %d concepts are too rare to evaluate", skipped.height, len(kept))
    return labels.keep_concepts(kept), skipped
