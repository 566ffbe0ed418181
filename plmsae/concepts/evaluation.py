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

from plmsae.concepts.association import INTERPLM_THRESHOLDS, Counts, associate
from plmsae.concepts.calibration import call_precision
from plmsae.concepts.calls import call_all
from plmsae.concepts.evidence import Split, gather_evidence
from plmsae.concepts.latents import (
    Float32,
    Int64,
    firing_rates,
    max_activations,
    same_width,
)
from plmsae.concepts.matching import match_calls
from plmsae.concepts.residue_labels import ResidueLabels, build_residue_labels
from plmsae.concepts.selection import BestPairs, confirmed_pairs, score_pairs, select_pairs
from plmsae.concepts.significance import residue_pair_q_values
from plmsae.concepts.span_rules import with_span_rule
from plmsae.errors import InputError

log = logging.getLogger(__name__)

SPLITS = ("select", "report")
FOUND = 0.5  # F1 above which a pair counts, on both splits (InterPLM)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What the latents of one SAE mean, with the evidence."""

    features: pl.DataFrame
    """One row a latent, dead ones too; the columns of ``features.parquet``."""
    concepts: pl.DataFrame
    """One row an evaluated concept, with its best latent; the columns of ``concepts.parquet``."""
    summary: dict[str, float]
    """Headline numbers, ready to be logged as metrics."""
    calls: pl.DataFrame
    """The calls on the report split: ``accession``, ``start``, ``end``, ``concept``, ``score``,
    ``latent``, ``right`` (overlaps a labelled instance), ``iou``."""
    evidence: pl.DataFrame
    """One row an evaluated concept: the columns of
    :func:`plmsae.concepts.evidence.gather_evidence`, ``q`` (of the best pair on the report split,
    corrected over all pairs) and ``n_latents`` (latents confirmed at F1 > 0.5 on both splits: more
    than one, and the concept is split among them)."""
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
    max_activation: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    sequences: Sequence[str] | None = None,
    bootstrap: int = 0,
    seed: int = 0,
) -> Evaluation:
    """Find out what the latents of a residue-level SAE detect.

    Parameters
    ----------
    latents : sequence of csr_array, shape=(length, F)
        Raw activations, one array a protein, one row a residue.
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
    min_instances : int
        A concept needs that many instances on ``select``, and one on ``report``.
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
    all_labels, skipped = _common_enough(all_labels, select_P, report_P, min_instances)
    select_labels, report_labels = all_labels.take(select_P), all_labels.take(report_P)
    select_latents = [latents[int(i)] for i in select_P]
    report_latents = [latents[int(i)] for i in report_P]
    report_sequences = None if sequences is None else [sequences[int(i)] for i in report_P]
    scale_F = (
        max_activations(select_latents, n_latents)
        if max_activation is None
        else np.asarray(max_activation, dtype=np.float32)
    )
    select = associate(select_latents, select_labels, scale_F, thresholds=thresholds)
    report = associate(report_latents, report_labels, scale_F, thresholds=thresholds)
    best = select_pairs(select)

    features = _features(best, report, scale_F, firing_rates(latents, n_latents))
    concepts = _concepts(best, report)
    concepts = with_span_rule(concepts, select_latents, select_labels, scale_F)
    calls = call_all(report_latents, concepts, scale_F)
    matches = match_calls(calls, report_labels)
    report_clusters = None if cluster_P is None else cluster_P[report_P]
    cluster_K = None
    if report_clusters is not None:
        cluster_K = report_clusters[calls["protein"].to_numpy()]
    precision = call_precision(matches.right_K, matches.concept_K, concepts.height, cluster_K)
    concepts = pl.concat([concepts, precision], how="horizontal").select(CONCEPT_COLUMNS)
    pairs = confirmed_pairs(select, report, above=FOUND)
    q_CF = residue_pair_q_values(select, report)
    evidence = gather_evidence(
        concepts,
        Split(latents=select_latents, labels=select_labels),
        Split(
            latents=report_latents,
            labels=report_labels,
            clusters=report_clusters,
            sequences=report_sequences,
        ),
        scale_F,
        draws=bootstrap,
        seed=seed,
    )
    has = (best.latent_C >= 0).tolist()
    q_best = q_CF[np.arange(concepts.height), np.maximum(best.latent_C, 0)]
    n_confirmed = np.bincount(pairs[:, 0], minlength=concepts.height)
    evidence = evidence.with_columns(
        pl.when(pl.Series(has)).then(pl.Series(q_best)).alias("q"),
        pl.Series("n_latents", n_confirmed.astype(np.int64)),
    )
    named = pl.Series("accession", list(report_labels.accessions), dtype=pl.String)
    return Evaluation(
        features=features,
        concepts=concepts,
        summary={
            **_summary(features, concepts, pairs, matches.instance_iou_I, skipped.height),
            "n_pairs_q_05": int((q_CF <= 0.05).sum()),
            "n_features_q_05": int((q_CF <= 0.05).any(axis=0).sum()),
        },
        evidence=evidence,
        calls=calls.select(
            named.gather(calls["protein"]).alias("accession"),
            pl.exclude("protein"),
            pl.Series("right", matches.right_K),
            pl.Series("iou", matches.call_iou_K),
        ),
        skipped=skipped,
    )


FEATURE_COLUMNS = (
    "latent", "density", "max_activation", "dead", "concept", "threshold",
    "f1_select", "precision", "recall", "f1", "description",
)  # fmt: skip
CONCEPT_COLUMNS = (
    "concept", "kind", "latent", "threshold", "n_instances", "n_residues", "n_proteins",
    "f1_select", "precision_residue", "recall", "f1", "call_precision", "call_precision_low",
    "call_precision_high", "n_calls", "min_length", "max_gap",
)  # fmt: skip


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
    labels: ResidueLabels, select_P: Int64, report_P: Int64, min_instances: int
) -> tuple[ResidueLabels, pl.DataFrame]:
    """Drop concepts too rare to choose a pair for or to report on."""
    n_select = labels.take(select_P).instances_C()
    n_report = labels.take(report_P).instances_C()
    kept = (n_select >= max(min_instances, 1)) & (n_report >= 1)
    skipped = pl.DataFrame(
        {"concept": list(labels.concepts), "n_select": n_select, "n_report": n_report},
        schema={"concept": pl.String, "n_select": pl.Int64, "n_report": pl.Int64},
    ).filter(~kept)
    if not kept.any():
        most = f"{int(n_select.max())} and {int(n_report.max())}" if len(n_select) else "no label"
        raise InputError(
            f"no concept has {min_instances} instances on select proteins and one on report",
            value=f"at most {most}",
            hint="use more proteins, or a lower minimum of instances",
        )
    if skipped.height:
        log.info("%d of %d concepts are too rare to evaluate", skipped.height, len(kept))
    return labels.keep_concepts(kept), skipped


def _features(
    best: BestPairs, report: Counts, scale_F: Float32, density_F: npt.NDArray[np.float64]
) -> pl.DataFrame:
    has = best.concept_F >= 0
    concept = np.where(has, best.concept_F, 0)
    scores = score_pairs(report, concept, np.arange(report.n_latents), best.threshold_F)
    frame = pl.DataFrame(
        {
            "latent": np.arange(report.n_latents, dtype=np.int32),
            "density": density_F,
            "max_activation": scale_F.astype(np.float64),
            "dead": scale_F <= 0,
            "concept": pl.Series(report.concepts, dtype=pl.String).gather(concept),
            "threshold": _shown(report.thresholds_T)[best.threshold_F],
            "f1_select": best.f1_F,
            "precision": scores.precision_Q,
            "recall": scores.recall_Q,
            "f1": scores.f1_Q,
            "description": pl.Series([None] * report.n_latents, dtype=pl.String),
        }
    )
    judged = ["concept", "threshold", "f1_select", "precision", "recall", "f1"]
    frame = frame.with_columns(pl.when(pl.Series(has)).then(pl.col(judged)))
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None)).select(FEATURE_COLUMNS)


def _concepts(best: BestPairs, report: Counts) -> pl.DataFrame:
    has = best.latent_C >= 0
    latent = np.where(has, best.latent_C, 0)
    ids = np.arange(len(report.concepts))
    scores = score_pairs(report, ids, latent, best.threshold_C)
    frame = pl.DataFrame(
        {
            "concept": pl.Series(report.concepts, dtype=pl.String),
            "kind": ["span" if span else "site" for span in report.is_span_C],
            "latent": latent.astype(np.int32),
            "threshold": _shown(report.thresholds_T)[best.threshold_C],
            "n_instances": report.n_instances_C,
            "n_residues": report.n_residues_C,
            "n_proteins": report.n_proteins_C,
            "f1_select": best.f1_C,
            "precision_residue": scores.precision_Q,
            "recall": scores.recall_Q,
            "f1": scores.f1_Q,
        }
    )
    judged = ["latent", "threshold", "f1_select", "precision_residue", "recall", "f1"]
    frame = frame.with_columns(pl.when(pl.Series(has)).then(pl.col(judged)))
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _shown(thresholds_T: Float32) -> npt.NDArray[np.float64]:
    """Thresholds as a person wrote them: 0.15, not 0.15000000596; equal again as float32."""
    return np.array([float(str(value)) for value in thresholds_T])


def _summary(
    features: pl.DataFrame,
    concepts: pl.DataFrame,
    pairs: Int64,
    instance_iou_I: npt.NDArray[np.float64],
    n_skipped: int,
) -> dict[str, float]:
    both = (pl.col("f1_select") > FOUND) & (pl.col("f1") > FOUND)
    n_features, n_dead = features.height, int(features["dead"].sum())
    return {
        "n_latents": n_features,
        "n_dead": n_dead,
        "dead_share": n_dead / n_features,
        "n_concepts": concepts.height,
        "n_concepts_skipped": n_skipped,
        "n_features_f1_50": features.filter(both).height,
        "n_concepts_f1_50": concepts.filter(both).height,
        "n_pairs_f1_50": len(pairs),
        "n_features_any_f1_50": len(np.unique(pairs[:, 1])),
        "n_concepts_any_f1_50": len(np.unique(pairs[:, 0])),
        "mean_concept_f1": float(concepts["f1"].fill_null(0).mean() or 0),  # type: ignore[arg-type]
        "n_concepts_precise_90": concepts.filter(pl.col("call_precision_low") >= 0.9).height,
        "instances_found": float((instance_iou_I > 0).mean()),
        "instances_iou_50": float((instance_iou_I >= 0.5).mean()),
    }
