"""Pick pairs and thresholds on one split; score them, unchanged, on another.

InterPLM picks the best pair and threshold on validation proteins and counts those with F1 > 0.5 on
test proteins (Simon & Zou 2025, Methods). The two steps are two functions here, and the second one
takes no choice: choosing the threshold again on the test split would overestimate every pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plmsae.concepts.association.counts import Counts
from plmsae.concepts.latents import Int64

Float64 = npt.NDArray[np.float64]
_BLOCK = 2_000_000  # (concept, latent, threshold) triples worked on at a time


@dataclass(frozen=True, kw_only=True)
class BestPairs:
    """The best partner of every concept and of every latent, by F1.

    Of equal latents a concept gets the first, of equal concepts a latent the last: a class
    (``Transmembrane``) stands before its members, and the member says more.
    """

    latent_C: Int64
    """Best latent of each concept; -1 where none finds a single labelled residue."""
    threshold_C: Int64
    """Index of the best threshold of that pair."""
    f1_C: Float64
    concept_F: Int64
    """Best concept of each latent; -1 where there is none."""
    threshold_F: Int64
    f1_F: Float64


@dataclass(frozen=True, kw_only=True)
class PairScores:
    """Scores of given (concept, latent, threshold) triples."""

    precision_Q: Float64
    """Share of the firing residues that carry the concept; NaN if the latent never fires."""
    recall_Q: Float64
    """Share of instances (spans) or residues (sites) found; NaN if there is none to find."""
    f1_Q: Float64
    """Harmonic mean; 0 if nothing was found, NaN if there was nothing to find."""


def f1_score(precision: Float64, recall: Float64) -> Float64:
    """Return the harmonic mean of precision and recall: 0 where both are 0 or precision is NaN."""
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return np.where(np.isnan(recall), np.nan, f1)


def select_pairs(counts: Counts) -> BestPairs:
    """Find the best latent and threshold of each concept, and the best concept of each latent.

    Parameters
    ----------
    counts : Counts
        Of the split on which to choose.
    """
    n_concepts, n_latents = len(counts.concepts), counts.n_latents
    latent_C = np.full(n_concepts, -1, dtype=np.int64)
    threshold_C = np.zeros(n_concepts, dtype=np.int64)
    f1_C = np.zeros(n_concepts)
    concept_F = np.full(n_latents, -1, dtype=np.int64)
    threshold_F = np.zeros(n_latents, dtype=np.int64)
    f1_F = np.zeros(n_latents)
    for block, f1_cft in f1_blocks(counts):
        threshold_cf = f1_cft.argmax(axis=2)
        f1_cf = np.take_along_axis(f1_cft, threshold_cf[:, :, None], axis=2)[:, :, 0]
        here = np.arange(f1_cf.shape[0])
        best = f1_cf.argmax(axis=1)
        f1_C[block], threshold_C[block] = f1_cf[here, best], threshold_cf[here, best]
        latent_C[block] = np.where(f1_C[block] > 0, best, -1)
        best = f1_cf.shape[0] - 1 - f1_cf[::-1].argmax(axis=0)
        columns = np.arange(n_latents)
        better = f1_cf[best, columns] >= np.maximum(f1_F, np.finfo(np.float64).tiny)
        f1_F[better] = f1_cf[best, columns][better]
        concept_F[better] = block.start + best[better]
        threshold_F[better] = threshold_cf[best, columns][better]
    return BestPairs(
        latent_C=latent_C,
        threshold_C=threshold_C,
        f1_C=f1_C,
        concept_F=concept_F,
        threshold_F=threshold_F,
        f1_F=f1_F,
    )


def top_latents(counts: Counts, n_top: int) -> Int64:
    """Return the latents with the highest F1 of each concept, best first, shape=(C, n_top).

    -1 where a concept has fewer latents that find anything.
    """
    n_top = min(n_top, counts.n_latents)
    top = np.full((len(counts.concepts), n_top), -1, dtype=np.int64)
    for block, f1_cft in f1_blocks(counts):
        f1_cf = f1_cft.max(axis=2)
        order = np.argsort(-f1_cf, axis=1, kind="stable")[:, :n_top]
        top[block] = np.where(np.take_along_axis(f1_cf, order, axis=1) > 0, order, -1)
    return top


def score_pairs(
    counts: Counts, concept_Q: npt.ArrayLike, latent_Q: npt.ArrayLike, threshold_Q: npt.ArrayLike
) -> PairScores:
    """Score given pairs at given thresholds (indices) on the split of `counts`."""
    concept = np.asarray(concept_Q, dtype=np.int64)
    latent = np.asarray(latent_Q, dtype=np.int64)
    threshold = np.asarray(threshold_Q, dtype=np.int64)
    true_positives = counts.true_positives_at(concept, latent, threshold)
    fires = counts.fires_FT()[latent, threshold]
    targets = counts.targets_C[concept]
    precision = _ratio(true_positives, fires)
    recall = _ratio(counts.found_at(concept, latent, threshold), targets)
    return PairScores(precision_Q=precision, recall_Q=recall, f1_Q=f1_score(precision, recall))


def promising_pairs(counts: Counts, above: float) -> Int64:
    """Return all pairs whose F1 is above a level at their best threshold.

    Returns
    -------
    ndarray, dtype=int64, shape=(Q, 2)
        Concept id and latent, in this order.
    """
    found = []
    for block, f1_cft in f1_blocks(counts):
        concept, latent = np.nonzero(f1_cft.max(axis=2) > above)
        found.append(np.stack([concept + block.start, latent], axis=1))
    return np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)


def f1_blocks(counts: Counts) -> Iterator[tuple[slice, Float64]]:
    """Yield F1 of all latents and thresholds for a few concepts at a time."""
    fires_FT = counts.fires_FT()
    step = max(1, _BLOCK // max(fires_FT.size, 1))
    for first in range(0, len(counts.concepts), step):
        block = slice(first, min(first + step, len(counts.concepts)))
        precision = _ratio(counts.true_positives_CFT(block), fires_FT[None])
        recall = _ratio(counts.found_CFT(block), counts.targets_C[block, None, None])
        yield block, np.nan_to_num(f1_score(precision, recall))


def _ratio(part: npt.NDArray[np.integer], whole: npt.NDArray[np.integer]) -> Float64:
    shape = np.broadcast_shapes(part.shape, whole.shape)
    ratio: Float64 = np.divide(part, whole, out=np.full(shape, np.nan), where=whole > 0)
    return ratio
