"""Calls of single latents on families that had no say in which latent calls.

A latent that is the best of hundreds on a few dozen labelled proteins looks better there than it
is, and a calibrator fitted to its calls on these proteins promises too much. So the select proteins
are cut into folds by homology cluster; for each fold, latent and threshold are chosen on the others
as they are for the model, and call it. What is calibrated in this way is the choice, not one pair:
the calls of the folds may be of different latents, each by its own scale (cross-validated
calibration; Platt 1999, §2.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.concepts.association.counts import INTERPLM_THRESHOLDS, associate, concept_blocks
from plmsae.concepts.association.evidence import Split
from plmsae.concepts.association.selection import select_pairs, top_latents
from plmsae.concepts.calling.caller_selection import take
from plmsae.concepts.calling.calls import call_all
from plmsae.concepts.calling.span_rules import with_span_rule
from plmsae.concepts.calling.threshold_tuning import CANDIDATES, tune_annotator
from plmsae.concepts.latents import Float32, Int64, check_thresholds
from plmsae.core.errors import InputError

FOLDS = 5


def crossfit_calls(
    concepts: pl.DataFrame,
    select: Split,
    max_activation_F: npt.ArrayLike,
    *,
    min_precision: float,
    seed: int = 0,
) -> pl.DataFrame:
    """Choose who calls on all folds but one, and call that one; over all folds.

    Parameters
    ----------
    concepts : polars.DataFrame
        As registered, in the order of the labels: where ``abstains`` is null the calls are those of
        the pair tuned for precision, else those of the pair with the best F1.
    select : Split
        With clusters.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent.
    min_precision : float
        What the annotator is tuned for.
    seed : int
        Of the folds.

    Returns
    -------
    polars.DataFrame
        As :func:`plmsae.concepts.calling.calls.call_spans`; ``protein`` counts those of `select`.

    Raises
    ------
    InputError
        If there is but one cluster.
    """
    scale_F: Float32 = np.asarray(max_activation_F, dtype=np.float32)
    fold_P = deal_clusters(np.asarray(select.clusters), seed)
    members = [np.flatnonzero(fold_P == fold) for fold in np.unique(fold_P)]
    held = [take(select, those) for those in members]
    tuned_C = concepts["abstains"].is_null()
    parts = []
    for fold, best in enumerate(_best_on_the_others(held, scale_F)):
        rest = take(select, np.setdiff1d(np.arange(len(fold_P)), members[fold]))
        rows = _who_calls(best, rest, held[fold], scale_F, tuned_C, min_precision)
        calls = call_all(held[fold].latents, rows, scale_F)
        protein = members[fold][calls["protein"].to_numpy()]
        parts.append(calls.with_columns(pl.Series("protein", protein)))
    return pl.concat(parts)


def deal_clusters(clusters_P: npt.NDArray[np.integer], seed: int) -> Int64:
    """Return the fold of each protein: clusters are dealt in turn, the largest first.

    Raises
    ------
    InputError
        If there is but one cluster.
    """
    _, member, size = np.unique(clusters_P, return_inverse=True, return_counts=True)
    if len(size) < 2:
        raise InputError("proteins of one homology cluster cannot be cut into folds")
    order = np.lexsort([np.random.default_rng(seed).random(len(size)), -size])
    fold = np.empty(len(size), dtype=np.int64)
    fold[order] = np.arange(len(size)) % FOLDS
    return fold[member]


@dataclass(frozen=True, kw_only=True)
class _Best:
    """What was chosen of each concept."""

    latent_C: Int64
    """-1 for none."""
    threshold_C: Int64
    candidates_CR: Int64


def _best_on_the_others(folds: Sequence[Split], scale_F: Float32) -> list[_Best]:
    """Return for each fold the best pairs on all others; every protein is counted once."""
    labels = folds[0].labels
    found: list[list[_Best]] = [[] for _ in folds]
    n_thresholds, n_counts = len(INTERPLM_THRESHOLDS), len(folds) + 2
    for _, here in concept_blocks(labels.n_concepts, len(scale_F), n_thresholds, n_counts=n_counts):
        counts = [associate(one.latents, one.labels.keep_concepts(here), scale_F) for one in folds]
        for fold in range(len(folds)):
            rest = reduce(add, counts[:fold] + counts[fold + 1 :])
            pairs = select_pairs(rest)
            best = _Best(
                latent_C=pairs.latent_C,
                threshold_C=pairs.threshold_C,
                candidates_CR=top_latents(rest, CANDIDATES),
            )
            found[fold].append(best)
    return [
        _Best(
            latent_C=np.concatenate([block.latent_C for block in blocks]),
            threshold_C=np.concatenate([block.threshold_C for block in blocks]),
            candidates_CR=np.concatenate([block.candidates_CR for block in blocks]),
        )
        for blocks in found
    ]


def _who_calls(
    best: _Best,
    rest: Split,
    held: Split,
    scale_F: Float32,
    tuned_C: pl.Series,
    min_precision: float,
) -> pl.DataFrame:
    """Return who calls each concept, chosen on `rest`."""
    latent = pl.Series("latent", best.latent_C)
    thresholds = check_thresholds(INTERPLM_THRESHOLDS).astype(np.float64)
    rows = pl.DataFrame(
        {
            "concept": list(rest.labels.concepts),
            "kind": rest.labels.kinds,
            "latent": latent.set(latent < 0, None),
            "threshold": thresholds[best.threshold_C],
        }
    )
    rows = with_span_rule(rows, rest.latents, rest.labels, scale_F)
    if not tuned_C.any():
        return rows
    kept_C = tuned_C.to_numpy()
    tuned = tune_annotator(
        best.candidates_CR[kept_C],
        replace(rest, labels=rest.labels.keep_concepts(kept_C)),
        replace(held, labels=held.labels.keep_concepts(kept_C)),
        scale_F,
        min_precision=min_precision,
    )
    rule = [pl.col(name).cast(rows.schema[name]) for name in rows.columns]
    at = pl.int_range(rows.height, eager=True).alias("_at")
    untuned = rows.with_columns(at).filter(~tuned_C)
    tuned = tuned.select(rule).with_columns(at.filter(tuned_C))
    return pl.concat([untuned, tuned]).sort("_at").drop("_at")
