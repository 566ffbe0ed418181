"""Calls of single latents on families on which the calling latent was not chosen.

A latent that is the best of hundreds on a few dozen labelled proteins looks better there than it
is, and a calibrator fitted to its calls on these proteins is too optimistic. So the select proteins
are cut into folds by homology cluster; for each fold, latent and rule are chosen on the others as
they are for the model, and call it. What is calibrated in this way is the choice, not one pair:
the calls of the folds may be of different latents, each by its own scale (cross-validated
calibration; Platt 1999, §2.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.concepts.association.counts import INTERPLM_THRESHOLDS, associate, concept_blocks
from plmsae.concepts.association.evidence import Split
from plmsae.concepts.association.selection import top_latents
from plmsae.concepts.calling.calibration import meets
from plmsae.concepts.calling.caller_selection import take
from plmsae.concepts.calling.calls import call_all
from plmsae.concepts.calling.rule_search import search_rules
from plmsae.concepts.calling.threshold_tuning import CANDIDATES
from plmsae.concepts.latents import Float32, Int64
from plmsae.core.errors import InputError

FOLDS = 3


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
        As registered, in the order of the labels; only those that a latent calls are called.
    select : Split
        With clusters.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent.
    min_precision : float
        What the annotator is tuned for.

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
    by_latent_C = concepts["call_latent"].is_not_null().to_numpy()
    parts = []
    for fold, candidates_CR in enumerate(_candidates_of_the_others(held, scale_F)):
        rest = take(select, np.setdiff1d(np.arange(len(fold_P)), members[fold]))
        rules = search_rules(
            np.where(by_latent_C[:, None], candidates_CR, -1),
            rest,
            scale_F,
            good=lambda measured: meets(measured, min_precision).to_numpy(),
        )
        calls = call_all(held[fold].latents, rules.frame, scale_F, rules.segments)
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


def _candidates_of_the_others(folds: Sequence[Split], scale_F: Float32) -> list[Int64]:
    """Return for each fold the best latents on all others, (C, R); every protein counted once."""
    labels = folds[0].labels
    found: list[list[Int64]] = [[] for _ in folds]
    n_thresholds, n_counts = len(INTERPLM_THRESHOLDS), len(folds) + 2
    for _, here in concept_blocks(labels.n_concepts, len(scale_F), n_thresholds, n_counts=n_counts):
        counts = [associate(one.latents, one.labels.keep_concepts(here), scale_F) for one in folds]
        for fold in range(len(folds)):
            rest = reduce(add, counts[:fold] + counts[fold + 1 :])
            found[fold].append(top_latents(rest, CANDIDATES))
    return [np.concatenate(blocks) for blocks in found]
