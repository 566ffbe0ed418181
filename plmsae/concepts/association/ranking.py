"""Exact curves of chosen pairs: the best threshold of all, average precision, AUROC.

A grid of five thresholds is enough to choose among millions of pairs. For those chosen, the sorted
activations give the threshold that maximises F1 exactly, and two measures that need no threshold.
Both are over residues, silent residues included as one tie at zero, and equal scikit-learn's
``average_precision_score`` and ``roc_auc_score`` on the dense column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plmsae.concepts.association.pairs import PairActivations
from plmsae.concepts.association.selection import f1_score
from plmsae.concepts.latents import Int64

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What the full order of its activations says of each pair; arrays of shape (Q,)."""

    threshold_Q: Float64
    """The threshold with the highest F1: half way between the lowest activation above it and the
    highest not above it. Ties go to the highest threshold. NaN if no threshold finds anything."""
    f1_Q: Float64
    """F1 there (on these proteins: choosing it is fitting it)."""
    average_precision_Q: Float64
    """NaN if no residue carries the concept."""
    auroc_Q: Float64
    """NaN if no residue, or every residue, carries the concept."""


def rank_pairs(pairs: PairActivations) -> Ranking:
    """Sort the activations of every pair and read off all that the order tells.

    Parameters
    ----------
    pairs : PairActivations
        The pairs, over the proteins to measure on.
    """
    labels, n_pairs = pairs.labels, pairs.n_pairs
    positive = labels.residues_C()[pairs.concept_Q].astype(np.float64)
    steps = sort_steps(pairs.pair_E, pairs.value_E, pairs.inside_E(), n_pairs)
    pair, value, tp, fires = steps.group, steps.value, steps.inside, steps.total
    first = np.searchsorted(pair, np.arange(n_pairs))
    some = np.searchsorted(pair, np.arange(n_pairs), side="right") > first
    f1, threshold = np.zeros(n_pairs), np.full(n_pairs, np.nan)
    found = _found(pairs, pair, value, tp)
    is_span = labels.is_span_C[pairs.concept_Q]
    targets = np.where(is_span, labels.instances_C()[pairs.concept_Q], positive)[pair]
    recall = np.divide(found, targets, out=np.zeros(len(pair)), where=targets > 0)
    f1_step = f1_score(tp / fires, recall)
    if some.any():
        f1[some] = np.maximum.reduceat(f1_step, first[some])
        best = np.flatnonzero(f1_step == f1[pair])
        winner, where = np.unique(pair[best], return_index=True)
        step = best[where]
        ends = np.append(pair[1:] != pair[:-1], True)
        below = np.where(ends[step], np.float32(0), np.append(value[1:], np.float32(0))[step])
        threshold[winner] = _between(below, value[step])
    threshold[f1 == 0] = np.nan
    return Ranking(
        threshold_Q=threshold,
        f1_Q=f1,
        average_precision_Q=average_precision(steps, positive, np.full(n_pairs, labels.n_rows)),
        auroc_Q=auroc(steps, positive, labels.n_rows - positive),
    )


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Every distinct activation of every group, highest first, and what lies at or above it."""

    group: Int64
    value: npt.NDArray[np.float32]
    inside: Float64
    """Labelled residues at or above the activation."""
    total: Float64
    """All residues at or above it."""
    rise_inside: Float64
    """Labelled residues exactly at it."""
    rise_total: Float64


def sort_steps(
    group_E: Int64, value_E: npt.NDArray[np.float32], inside_E: npt.NDArray[np.bool_], n_groups: int
) -> Steps:
    """Sort the activations of many groups at once and sum up along each."""
    order = np.lexsort((-value_E, group_E))
    group, value = group_E[order], value_E[order]
    closes = np.ones(len(group), dtype=bool)
    closes[:-1] = (group[1:] != group[:-1]) | (value[1:] != value[:-1])
    last = np.flatnonzero(closes)
    rise_inside = np.diff(np.cumsum(inside_E[order])[last], prepend=0).astype(np.float64)
    rise_total = np.diff(last, prepend=-1).astype(np.float64)
    group, value = group[last], value[last]
    # Running totals start again at each group: take off what the groups before it summed to.
    before_inside = np.cumsum(np.bincount(group, weights=rise_inside, minlength=n_groups))
    before_total = np.cumsum(np.bincount(group, weights=rise_total, minlength=n_groups))
    return Steps(
        group=group,
        value=value,
        inside=np.cumsum(rise_inside) - np.append(0.0, before_inside)[group],
        total=np.cumsum(rise_total) - np.append(0.0, before_total)[group],
        rise_inside=rise_inside,
        rise_total=rise_total,
    )


def auroc(steps: Steps, positive_G: Float64, negative_G: Float64) -> Float64:
    """Return the area under the ROC curve of each group; NaN where a class is empty.

    The residues that do not fire are one last step, tied at zero.
    """
    n_groups = len(positive_G)
    rise = steps.rise_total - steps.rise_inside
    area = np.bincount(
        steps.group, weights=rise * (steps.inside - steps.rise_inside / 2), minlength=n_groups
    ).astype(np.float64)
    inside = np.bincount(steps.group, weights=steps.rise_inside, minlength=n_groups)
    outside = np.bincount(steps.group, weights=rise, minlength=n_groups)
    area = area + (negative_G - outside) * (inside + positive_G) / 2
    possible = positive_G * negative_G
    share: Float64 = np.divide(area, possible, out=np.full(n_groups, np.nan), where=possible > 0)
    return share


def average_precision(
    steps: Steps, positive_G: Float64, total_G: npt.NDArray[np.integer]
) -> Float64:
    """Return the average precision of each group; NaN where nothing is labelled."""
    n_groups = len(positive_G)
    precise = np.bincount(
        steps.group, weights=steps.rise_inside * steps.inside / steps.total, minlength=n_groups
    ).astype(np.float64)
    inside = np.bincount(steps.group, weights=steps.rise_inside, minlength=n_groups)
    precise = precise + (positive_G - inside) * positive_G / np.maximum(total_G, 1)
    share: Float64 = np.divide(
        precise, positive_G, out=np.full(n_groups, np.nan), where=positive_G > 0
    )
    return share


def _found(
    pairs: PairActivations, pair: Int64, value: npt.NDArray[np.float32], tp: Float64
) -> Float64:
    """Return instances (spans) or residues (sites) found at or above each step."""
    pair_J, _ = pairs.instances_J()
    highest = pairs.maximum_J()
    pair_J, highest = pair_J[highest > 0], highest[highest > 0]
    levels, rank = np.unique(np.concatenate([value, highest]), return_inverse=True)
    room = len(levels) + 1
    depth = len(levels) - rank  # 1 for the highest activation of all
    sorted_J = np.sort(pair_J * room + depth[len(value) :])
    reached = np.searchsorted(sorted_J, pair * room + depth[: len(value)], side="right")
    hits = reached - np.searchsorted(sorted_J, pair * room)
    is_span = pairs.labels.is_span_C[pairs.concept_Q[pair]]
    return np.where(is_span, hits, tp).astype(np.float64)


def _between(
    below: npt.NDArray[np.float32], above: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Return a threshold that `above` passes and `below` does not, half way where floats allow."""
    middle = ((below.astype(np.float64) + above) / 2).astype(np.float32)
    return np.where(middle < above, middle, below).astype(np.float64)
