"""For each concept: its best single latent, or a probe over a few? Decided inside ``select``.

The select proteins are cut once more, by homology cluster: ``fit`` teaches the probes, ``tune``
chooses penalties and the thresholds of the comparison, ``held`` compares. There, at thresholds
chosen on the other folds, whichever makes the better calls wins: first by whether their precision
reaches what is asked for, then by F1 of spans, and the probe must win by a margin, because one
latent is easier to explain than thirty. A winning probe's final rule is then tuned like a latent's
(`calling.threshold_tuning`), on the folds its weights have not seen, and everything is measured
once on ``report``, on which nothing is chosen.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.association.evidence import Split
from plmsae.concepts.calling.callers import BY_LATENT, BY_PROBE
from plmsae.concepts.calling.decoders.segments import SegmentModel
from plmsae.concepts.calling.probes import (
    Probe,
    ProbeRows,
    fit_probe,
    probe_activations,
    rank_candidates,
)
from plmsae.concepts.calling.rule_search import LADDER, Rules, search_rules
from plmsae.concepts.calling.threshold_tuning import (
    ANNOTATOR_COLUMNS,
    TunedAnnotator,
    measure_calls,
    tune_annotator,
)
from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import Float32, Int64, chunks_of_proteins, scale, stack_rows
from plmsae.core.errors import InputError
from plmsae.proteins.splits import split as split_clusters

FOLDS = {"fit": 0.5, "tune": 0.25, "held": 0.25}
"""Shares of the select proteins."""

PROBE_LADDER = tuple(np.round(np.arange(0.0, 1.0, 0.05), 2).tolist())
MIN_INSTANCES = {"fit": 12, "tune": 5, "held": 5}
"""Instances that a concept needs in each fold for a probe."""
MARGIN = 0.01
MAX_CONCEPTS = 250
MAX_ROWS = 300_000
"""Residues of a fold that weights and penalties are fitted on: whole proteins, in order."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Who calls which concept, and how well."""

    annotator: pl.DataFrame
    """As `threshold_tuning.tune_annotator` returns it, with the winner's rows and
    the column ``caller``; ``call_latent`` is null for a probe."""
    probes: dict[str, Probe]
    """Of the concepts that a probe calls."""
    comparison: pl.DataFrame
    """One row per concept that a probe was fitted for: ``concept``, ``caller``, ``n_latents`` (of
    the probe) and, on the held-out fold of select, precision, share of instances found and F1 of
    calls of the latent and of the probe."""
    segments: dict[str, SegmentModel] = field(default_factory=dict)
    """Of the concepts whose decoder is ``segments``, called by a latent or a probe."""


def inner_folds(clusters: npt.NDArray[np.integer], seed: int) -> npt.NDArray[np.str_]:
    """Return the fold of each select protein, by homology cluster.

    Raises
    ------
    InputError
        If there are too few clusters for three folds.
    """
    return np.array(list(FOLDS))[split_clusters(clusters, FOLDS, seed)]


def choose_callers(
    select: Split,
    report: Split,
    max_activation_F: npt.ArrayLike,
    concepts: pl.DataFrame,
    annotator: TunedAnnotator,
    fold_P: npt.NDArray[np.str_],
    *,
    min_precision: float,
    seed: int = 0,
) -> Choice:
    """Fit probes and choose between them and the best latents.

    Parameters
    ----------
    select, report : Split
        With labels of the evaluated concepts; `select` with homology clusters.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent.
    concepts : polars.DataFrame
        ``Evaluation.concepts``: the best pair of each concept, in the order of the labels.
    annotator : TunedAnnotator
        ``Evaluation.annotator``: the latent and rule tuned for precision, in the same order.
    fold_P : ndarray of str
        Of :func:`inner_folds`, one per select protein.
    min_precision : float
        What calls are held to.
    """
    scale_F: Float32 = np.asarray(max_activation_F, dtype=np.float32)
    folds = {name: take(select, np.flatnonzero(fold_P == name)) for name in FOLDS}
    fitted = fit_probes(
        folds["fit"], folds["tune"], folds["held"].labels, scale_F, max_candidates=128, seed=seed
    )
    names = select.labels.concepts
    chosen = annotator.frame.with_columns(pl.lit(BY_LATENT).alias("caller"))
    if not fitted:
        return Choice(
            annotator=chosen, probes={}, comparison=_no_comparison(), segments=annotator.segments
        )
    ids = sorted(fitted)
    probes = [fitted[c] for c in ids]
    probe_C = np.full(len(names), -1, dtype=np.int64)
    probe_C[ids] = np.arange(len(ids))
    seen = {
        name: replace(fold, latents=as_latents(fold.latents, probes, scale_F))
        for name, fold in (("tune", folds["tune"]), ("held", folds["held"]), ("report", report))
    }
    ones = np.ones(len(probes), dtype=np.float32)
    rules = _best_rule(probe_C, seen["tune"], ones, PROBE_LADDER, min_precision)
    by_probe = measure_calls(rules.frame, seen["held"], ones, rules.segments)
    latent_C = chosen["call_latent"].fill_null(concepts["best_latent"]).fill_null(-1).to_numpy()
    latent_C = np.where(probe_C >= 0, latent_C, -1).astype(np.int64)
    learnt = join(folds["fit"], folds["tune"])
    rules = _best_rule(latent_C, learnt, scale_F, LADDER, min_precision)
    by_latent = measure_calls(rules.frame, folds["held"], scale_F, rules.segments)
    ahead = _merit(by_probe, min_precision) > _merit(by_latent, min_precision) + MARGIN
    # The final rule, as a latent's is tuned.
    final_rules = tune_annotator(
        np.where(ahead, probe_C, -1)[:, None],
        join(seen["tune"], seen["held"]),
        seen["report"],
        ones,
        min_precision=min_precision,
        thresholds=PROBE_LADDER,
    )
    final = _with_winners(chosen, final_rules.frame)
    of_probe = set(final.filter(pl.col("caller") == BY_PROBE)["concept"])
    return Choice(
        annotator=final.select(*ANNOTATOR_COLUMNS, "caller"),
        probes={names[c]: fitted[c] for c in ids if final["caller"][c] == BY_PROBE},
        comparison=_comparison(final, probe_C, probes, by_latent, by_probe),
        segments={
            name: (final_rules if name in of_probe else annotator).segments[name]
            for name in names
            if name in (final_rules if name in of_probe else annotator).segments
        },
    )


def _with_winners(chosen: pl.DataFrame, tuned: pl.DataFrame) -> pl.DataFrame:
    """Return `chosen` with the rows replaced of which `tuned`, of the probes, makes calls."""
    wins = tuned["call_latent"].is_not_null()
    tuned = tuned.with_columns(
        pl.lit(None, pl.Int32).alias("call_latent"), pl.lit(BY_PROBE).alias("caller")
    )
    tuned = tuned.select(pl.col(name).cast(chosen.schema[name]) for name in chosen.columns)
    rows = [
        frame.with_row_index("_at").filter(kept) for frame, kept in ((chosen, ~wins), (tuned, wins))
    ]
    return pl.concat(rows).sort("_at").drop("_at")


def _comparison(
    final: pl.DataFrame,
    probe_C: Int64,
    probes: Sequence[Probe],
    by_latent: pl.DataFrame,
    by_probe: pl.DataFrame,
) -> pl.DataFrame:
    """Return `Choice.comparison`; `probe_C` is the place of each concept's probe, -1 for none."""
    sizes = np.array([len(probe.latents) for probe in probes])
    tables = [
        final.select("concept", "caller", n_latents=pl.Series(sizes[probe_C], dtype=pl.Int64)),
        *(
            measured.select(
                pl.col("call_precision").alias(f"{who}_precision"),
                pl.col("instances_found").alias(f"{who}_found"),
                pl.Series(f"{who}_f1", _f1(measured)),
            )
            for who, measured in ((BY_LATENT, by_latent), (BY_PROBE, by_probe))
        ),
    ]
    return pl.concat(tables, how="horizontal").filter(pl.Series(probe_C >= 0))


def fit_probes(
    fit: Split,
    tune: Split,
    held: ResidueLabels | None,
    scale_F: Float32,
    *,
    max_candidates: int,
    seed: int,
    max_rows: int = 6_000,
    only: Sequence[int] | None = None,
) -> dict[int, Probe]:
    """Fit a probe for each concept common enough; by concept id.

    A probe chooses among the `max_candidates` latents that stand out most.
    `held` are the labels of the fold to compare on, where a concept must be common enough too;
    `only` are the concepts to try, by default those with most instances.
    """
    fit, tune = _at_most(fit, MAX_ROWS), _at_most(tune, MAX_ROWS // 2)
    n_fit = fit.labels.instances_C()
    enough = n_fit >= MIN_INSTANCES["fit"]
    enough &= tune.labels.instances_C() >= MIN_INSTANCES["tune"]
    if held is not None:
        enough &= held.instances_C() >= MIN_INSTANCES["held"]
    ids = np.flatnonzero(enough)
    ids = np.sort(ids[np.argsort(-n_fit[ids], kind="stable")][:MAX_CONCEPTS])
    if only is not None:
        ids = np.intersect1d(ids, only)
    if not len(ids):
        return {}
    rows = [ProbeRows.of(scale(stack_rows(fold.latents), scale_F)) for fold in (fit, tune)]
    masks = [csr_array(fold.labels.mask_CN()[ids]) for fold in (fit, tune)]
    candidates = rank_candidates(masks[0], rows[0].scaled, max_candidates)
    found = {}
    for at, concept in enumerate(ids.tolist()):
        probe = fit_probe(
            rows[0], _truth(masks[0], at), rows[1], _truth(masks[1], at),
            candidates[at][candidates[at] >= 0],
            max_rows=max_rows, seed=seed,
        )  # fmt: skip
        if probe is not None:
            found[concept] = probe
    return found


def as_latents(
    latents: Sequence[csr_array], probes: Sequence[Probe], scale_F: Float32
) -> list[csr_array]:
    """Return what the probes make of each protein's latents, as latents of their own."""
    made = []
    for first, last in chunks_of_proteins(latents):
        fires = probe_activations(stack_rows(latents[first:last]), probes, scale_F)
        cuts = np.concatenate([[0], np.cumsum([a.shape[0] for a in latents[first:last]])])
        made += [csr_array(fires[a:b]) for a, b in itertools.pairwise(cuts)]
    return made


def take(split: Split, index: Int64) -> Split:
    """Return some proteins of a split."""
    return Split(
        latents=[split.latents[int(i)] for i in index],
        labels=split.labels.take(index),
        clusters=None if split.clusters is None else np.asarray(split.clusters)[index],
    )


def join(one: Split, other: Split) -> Split:
    """Put the proteins of two splits with the same concepts under one another."""
    a, b = one.labels, other.labels
    if a.concepts != b.concepts:
        raise InputError("two splits of different concepts cannot be joined")
    shift = a.n_rows
    labels = ResidueLabels(
        concepts=a.concepts,
        is_span_C=a.is_span_C,
        accessions=a.accessions + b.accessions,
        offsets_P1=np.concatenate([a.offsets_P1, b.offsets_P1[1:] + shift]),
        concept_I=np.concatenate([a.concept_I, b.concept_I]),
        start_I=np.concatenate([a.start_I, b.start_I + shift]),
        end_I=np.concatenate([a.end_I, b.end_I + shift]),
    )
    clusters = None
    if one.clusters is not None and other.clusters is not None:
        clusters = np.concatenate([one.clusters, other.clusters])
    return Split(latents=[*one.latents, *other.latents], labels=labels, clusters=clusters)


def _best_rule(
    latent_C: Int64,
    where: Split,
    scale_F: Float32,
    thresholds: Sequence[float],
    min_precision: float,
) -> Rules:
    """Return the best rule of each concept's latent, precise by its estimate; -1 makes no calls."""
    return search_rules(
        latent_C[:, None],
        where,
        scale_F,
        good=lambda measured: _precise(measured, min_precision),
        thresholds=thresholds,
    )


def _precise(measured: pl.DataFrame, min_precision: float) -> npt.NDArray[np.bool_]:
    precise: npt.NDArray[np.bool_] = (
        (measured["call_precision"] >= min_precision).fill_null(value=False).to_numpy()
    )
    return precise


def _merit(measured: pl.DataFrame, min_precision: float) -> npt.NDArray[np.float64]:
    """Return the F1 of spans, plus 1 where the precision reaches what is asked for."""
    merit: npt.NDArray[np.float64] = _f1(measured) + _precise(measured, min_precision)
    return merit


def _f1(measured: pl.DataFrame) -> npt.NDArray[np.float64]:
    return measured["span_f1"].fill_null(0).to_numpy()


def _truth(mask_CN: csr_array, concept: int) -> npt.NDArray[np.bool_]:
    truth = np.zeros(mask_CN.shape[1], dtype=bool)
    truth[mask_CN.indices[mask_CN.indptr[concept] : mask_CN.indptr[concept + 1]]] = True
    return truth


def _at_most(split: Split, n_rows: int) -> Split:
    """Return the first proteins of a split, with at most `n_rows` residues (or one protein)."""
    fits = int(np.searchsorted(split.labels.offsets_P1, n_rows, side="right")) - 1
    fits = max(fits, 1)
    return split if fits >= len(split.latents) else take(split, np.arange(fits))


def _no_comparison() -> pl.DataFrame:
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "concept": pl.String, "caller": pl.String, "n_latents": pl.Int64,
    }  # fmt: skip
    for who in (BY_LATENT, BY_PROBE):
        schema |= {f"{who}_{name}": pl.Float64 for name in ("precision", "found", "f1")}
    return pl.DataFrame(schema=schema)
