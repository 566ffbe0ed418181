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

from plmsae.concepts.association.counts import INTERPLM_THRESHOLDS
from plmsae.concepts.association.evidence import Split, gather_evidence
from plmsae.concepts.association.pair_search import search_pairs
from plmsae.concepts.association.tables import CONCEPT_COLUMNS, COUNT_COLUMNS, headline
from plmsae.concepts.calling.calls import call_all
from plmsae.concepts.calling.matching import match_calls
from plmsae.concepts.calling.measuring import measure_matches
from plmsae.concepts.calling.span_rules import with_span_rule
from plmsae.concepts.calling.threshold_tuning import CANDIDATES, TunedAnnotator, tune_annotator
from plmsae.concepts.labels.residue_labels import ResidueLabels, build_residue_labels
from plmsae.concepts.latents import (
    Int64,
    check_thresholds,
    firing_rates,
    max_activations,
    same_width,
)
from plmsae.core.errors import InputError

log = logging.getLogger(__name__)

SPLITS = ("select", "report")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What the latents of one SAE mean, with the evidence."""

    features: pl.DataFrame
    """One row per latent, dead ones too; the columns of ``features.parquet``."""
    concepts: pl.DataFrame
    """One row an evaluated concept, with its best latent; the columns of ``concepts.parquet`` and
    :data:`plmsae.concepts.association.tables.COUNT_COLUMNS`."""
    summary: dict[str, float]
    """Headline numbers, ready to be logged as metrics."""
    calls: pl.DataFrame
    """The calls on the report split: ``accession``, ``start``, ``end``, ``concept``, ``score``,
    ``latent``, ``right`` (by the rule of `calling.matching`), ``touches`` (shares a residue with a
    labelled instance), ``iou``."""
    evidence: pl.DataFrame
    """One row an evaluated concept: the columns of
    `evidence.gather_evidence`, ``q`` (of the best pair on the report split,
    corrected over all pairs) and ``n_latents`` (latents confirmed at F1 > 0.5 on both splits: more
    than one, and the concept is split among them)."""
    annotator: TunedAnnotator | None
    """Where a precision was asked for: how each concept is called."""
    pairs: pl.DataFrame
    """All pairs confirmed at F1 > 0.5 on both splits: ``concept``, ``latent``, ``threshold``."""
    skipped: pl.DataFrame
    """Concepts too rare to evaluate: ``concept``, ``n_select``, ``n_report`` (instances)."""


def evaluate_residue(
    latents: Sequence[csr_array],
    accessions: Sequence[str],
    labels: pl.DataFrame,
    split: npt.ArrayLike,
    *,
    lengths: Sequence[int] | None = None,
    thresholds: Sequence[float] = INTERPLM_THRESHOLDS,
    min_instances: int = 10,
    min_report: int = 5,
    max_activation: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    sequences: Sequence[str] | None = None,
    bootstrap: int = 0,
    min_precision: float | None = None,
    seed: int = 0,
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
    lengths : sequence of int, optional, shape=(P,)
        Residues of each protein, to make sure that no protein was cut on its way through the PLM:
        labels of a whole protein do not fit the activations of a part.
    thresholds : sequence of float
        Shares of a latent's maximum to try.
    min_instances, min_report : int
        Instances a concept needs on ``select`` to be given a pair, and on ``report`` to be judged;
        one at least.
    max_activation : array_like, optional, shape=(F,)
        The scale of each latent, from a larger reference set. By default the maximum over the
        ``select`` proteins, so that the report proteins have no say in it.
    clusters : array_like of int, optional, shape=(P,)
        Homology clusters: checked against the split, used in the precision interval of calls, and
        drawn whole in the bootstrap.
    sequences : sequence of str, optional, shape=(P,)
        The proteins themselves, for the control for residue identity.
    bootstrap : int
        Samples for the interval of F1 in ``evidence``; none by default.
    min_precision : float, optional
        Also tune an annotator: for each concept the latent and the rule whose calls reach this
        precision by the lower bound of the interval, chosen on ``select``.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Evaluation
        In ``features`` and ``concepts``, ``f1_select`` is of the select split; precision, recall,
        F1, calls and the counts ``n_instances``, ``n_residues``, ``n_proteins`` are of the report
        split. ``density`` is the share of all given residues on which a latent fires.

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
    n_latents = same_width(latents)
    n_rows = [int(array.shape[0]) for array in latents]
    for name, found, expected in zip(
        accessions, n_rows, n_rows if lengths is None else lengths, strict=True
    ):
        if found != expected:
            raise InputError(
                f"activations of {found} residues for a protein of {expected}", record=name
            )
    cluster_P = None if clusters is None else np.asarray(clusters)
    select_P, report_P = _proteins_of(names, cluster_P)
    all_labels = build_residue_labels(labels, accessions, n_rows)
    all_labels, skipped = _common_enough(
        all_labels, select_P, report_P, (min_instances, min_report)
    )
    select_labels, report_labels = all_labels.take(select_P), all_labels.take(report_P)
    select_latents = [latents[int(i)] for i in select_P]
    report_latents = [latents[int(i)] for i in report_P]
    report_sequences = None if sequences is None else [sequences[int(i)] for i in report_P]
    scale_F = (
        max_activations(select_latents, n_latents)
        if max_activation is None
        else np.asarray(max_activation, dtype=np.float32)
    )
    density_F = firing_rates(latents, n_latents)
    search = search_pairs(
        (select_latents, select_labels),
        (report_latents, report_labels),
        scale_F,
        density_F,
        thresholds,
        n_candidates=CANDIDATES,
    )
    features, pairs = search.features, search.pairs_Q3
    concepts = with_span_rule(search.concepts, select_labels)
    calls = call_all(report_latents, concepts, scale_F)
    matches = match_calls(calls, report_labels)
    report_clusters = None if cluster_P is None else cluster_P[report_P]
    protein_K = calls["protein"].to_numpy()
    measured = measure_matches(
        matches,
        report_labels,
        np.diff(report_labels.offsets_P1)[protein_K],
        None if report_clusters is None else report_clusters[protein_K],
    )
    concepts = pl.concat([concepts, measured], how="horizontal")
    concepts = concepts.select(*CONCEPT_COLUMNS, *COUNT_COLUMNS)
    select_split = Split(
        latents=select_latents,
        labels=select_labels,
        clusters=None if cluster_P is None else cluster_P[select_P],
    )
    report_split = Split(
        latents=report_latents,
        labels=report_labels,
        clusters=report_clusters,
        sequences=report_sequences,
    )
    annotator = None
    if min_precision is not None:
        annotator = tune_annotator(
            search.candidates_CR,
            select_split,
            report_split,
            scale_F,
            min_precision=min_precision,
        )
    evidence = gather_evidence(
        concepts,
        select_split,
        report_split,
        scale_F,
        draws=bootstrap,
        seed=seed,
    )
    n_confirmed = np.bincount(pairs[:, 0], minlength=concepts.height)
    evidence = evidence.with_columns(
        pl.when(concepts["latent"].is_not_null()).then(pl.Series(search.q_C)).alias("q"),
        pl.Series("n_latents", n_confirmed.astype(np.int64)),
    )
    named = pl.Series("accession", list(report_labels.accessions), dtype=pl.String)
    return Evaluation(
        features=features,
        concepts=concepts,
        summary={
            **headline(
                features, concepts, pairs, matches.found_I, matches.instance_iou_I, skipped.height
            ),
            "n_pairs_q_05": search.n_pairs_q_05,
            "n_features_q_05": search.n_features_q_05,
        },
        evidence=evidence,
        annotator=annotator,
        pairs=pl.DataFrame(
            {
                "concept": pl.Series(select_labels.concepts, dtype=pl.String).gather(pairs[:, 0]),
                "latent": pairs[:, 1].astype(np.int32),
                "threshold": check_thresholds(thresholds)[pairs[:, 2]].astype(np.float64),
            }
        ),
        calls=calls.select(
            named.gather(calls["protein"]).alias("accession"),
            pl.exclude("protein"),
            pl.Series("right", matches.right_K),
            pl.Series("touches", matches.touches_K),
            pl.Series("iou", matches.call_iou_K),
        ),
        skipped=skipped,
    )


def check_common(
    labels: pl.DataFrame,
    accessions: Sequence[str],
    lengths: Sequence[int],
    split: npt.ArrayLike,
    *,
    min_instances: int = 10,
    min_report: int = 5,
) -> None:
    """Refuse labels that :func:`evaluate_residue` would refuse, before any latent is there.

    Raises
    ------
    InputError
        As there: labels do not fit the proteins, a split is empty, or every concept is too rare.
    """
    select_P, report_P = _proteins_of(np.asarray(split), None)
    laid = build_residue_labels(labels, accessions, lengths)
    _common_enough(laid, select_P, report_P, (min_instances, min_report))


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
