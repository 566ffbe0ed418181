"""Fitting the segment decoder of a concept: log-odds of activations, and lengths of its spans."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from plmsae.concepts.calling.decoders.activations import Activations
from plmsae.concepts.calling.decoders.segments import MAX_LENGTHS, SegmentModel
from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import Float32, Int64, expand

MIN_INSTANCES = 4
"""Labelled spans without which no distribution of lengths can be learnt."""
ANCHORED_SHARE = 0.95
"""Share of instances that must start at residue 1 or 2 for a concept to be anchored."""
COSTS = (2.0, 8.0)
"""Costs of a segment to try, in nats: a low one cuts more segments out, shorter ones among them."""
N_BINS = 8
"""Bins of equal counts that the activations of a latent are cut into."""
_BANDWIDTH = 0.12  # of the kernel on the natural log of a length: about 12 % of the length
_FLOOR = -6.0  # no length within the range is less likely than e^-6 of the commonest

Float64 = npt.NDArray[np.float64]


def fit_segments(
    activations: Activations, latent: int, labels: ResidueLabels, concept: int
) -> SegmentModel | None:
    """Fit the segment decoder of a concept to one latent.

    Parameters
    ----------
    activations : Activations
        On the proteins of `labels`.
    latent : int
        The latent's position in `activations`.
    labels : ResidueLabels
        Labels of the proteins that choose.
    concept : int
        Id of the concept, a span.

    Returns
    -------
    SegmentModel or None
        With the lowest cost and no minimum of evidence. None if there are fewer than
        `MIN_INSTANCES` spans, the latent never fires, or its absence is no evidence against the
        concept.
    """
    mine = labels.concept_I == concept
    start, end = labels.start_I[mine], labels.end_I[mine]
    if len(start) < MIN_INSTANCES:
        return None
    anchored = is_anchored(labels, concept)
    lengths, log_lengths = length_distribution(end - start)
    row, value = activations.of(latent)
    universe = labels.n_rows
    if anchored:
        protein = np.searchsorted(labels.offsets_P1, row, side="right") - 1
        near = row - labels.offsets_P1[protein] < lengths[-1]
        row, value = row[near], value[near]
        universe = int(np.minimum(np.diff(labels.offsets_P1), lengths[-1]).sum())
        end = np.minimum(end, start + lengths[-1])
    inside = np.zeros(labels.n_rows, dtype=bool)
    inside[expand(start, end)] = True
    fitted = _log_odds(value, inside[row], int(inside.sum()), universe)
    if fitted is None:
        return None
    return SegmentModel(
        edges=fitted[0],
        log_odds=fitted[1],
        lengths=tuple(int(n) for n in lengths),
        log_lengths=tuple(float(x) for x in log_lengths),
        cost=COSTS[0],
        min_evidence=0.0,
        gap=_shortest_gap(start, end, labels),
        anchored=anchored,
    )


def is_anchored(labels: ResidueLabels, concept: int) -> bool:
    """Tell whether nearly all instances of a concept start at residue 1 or 2."""
    mine = labels.concept_I == concept
    if not mine.any():
        return False
    place = labels.start_I[mine] - labels.offsets_P1[labels.protein_I[mine]]
    return float((place <= 1).mean()) >= ANCHORED_SHARE


def length_distribution(length_I: npt.ArrayLike) -> tuple[Int64, Float64]:
    """Smooth the lengths of labelled spans to a distribution on a ladder of lengths.

    Parameters
    ----------
    length_I : array_like of int
        Residues of each labelled span.

    Returns
    -------
    lengths : ndarray of int, shape=(D,)
        From the 2 % to the 98 % quantile; every length where these are few, else evenly spread on a
        log scale.
    log_lengths : ndarray of float, shape=(D,)
        Gaussian kernel density on the log of the length, relative to its mode, floored.
    """
    seen = np.asarray(length_I, dtype=np.float64)
    low, high = (int(q) for q in np.quantile(seen, [0.02, 0.98]))
    low, high = max(low, 1), max(high, low, 1)
    if high - low < MAX_LENGTHS:
        ladder = np.arange(low, high + 1)
    else:
        ladder = np.unique(np.geomspace(low, high, MAX_LENGTHS).round().astype(np.int64))
    apart = (np.log(ladder)[:, None] - np.log(seen)) / _BANDWIDTH
    density = np.exp(-0.5 * apart**2).sum(axis=1)
    log_density = np.log(np.maximum(density / density.max(), np.exp(_FLOOR)))
    return ladder.astype(np.int64), log_density


def _log_odds(
    value: Float32, inside: npt.NDArray[np.bool_], n_inside: int, n_rows: int
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return bins of activation and the log-odds of each, no activation first, never falling."""
    if not len(value) or not 0 < n_inside < n_rows:
        return None
    n_outside = n_rows - n_inside
    cuts = np.quantile(value, np.arange(1, N_BINS) / N_BINS).astype(np.float64)
    edges = np.unique(np.concatenate([[0.0], cuts[cuts > 0]]))
    at = np.searchsorted(edges, value, side="left")  # 1 … len(edges), as value > 0
    size = len(edges) + 1
    hits = np.bincount(at[inside], minlength=size).astype(np.float64)
    others = np.bincount(at[~inside], minlength=size).astype(np.float64)
    hits[0], others[0] = n_inside - hits.sum(), n_outside - others.sum()
    odds = np.log((hits + 0.5) / (n_inside + 1)) - np.log((others + 0.5) / (n_outside + 1))
    odds = _rising(odds, hits + others)
    if odds[0] >= -0.01:
        return None
    return tuple(edges.tolist()), tuple(odds.tolist())


def _rising(values: Float64, weights: Float64) -> Float64:
    """Return the nearest sequence that never falls: more activation is never evidence against."""
    from sklearn.isotonic import isotonic_regression

    return np.asarray(isotonic_regression(values, sample_weight=weights + 1.0), dtype=np.float64)


def _shortest_gap(start: Int64, end: Int64, labels: ResidueLabels) -> int:
    """Return the residues that lie between neighbouring instances, at least (5 % quantile)."""
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    protein = np.searchsorted(labels.offsets_P1, start, side="right")
    gaps = (start[1:] - end[:-1])[protein[1:] == protein[:-1]]
    gaps = gaps[gaps >= 0]
    if len(gaps) < MIN_INSTANCES:
        return 1
    return int(np.quantile(gaps, 0.05, method="lower"))


def support_threshold(model: SegmentModel) -> float | None:
    """Return the activation above which a residue is evidence for the concept, or None."""
    support = np.flatnonzero(np.asarray(model.log_odds[1:]) > 0)
    return model.edges[int(support[0])] if len(support) else None
