"""All concepts × latents × thresholds, a few concepts at a time: what is chosen, and how it does.

Two splits, each with two tables of concepts × latents × thresholds, are 80 bytes per pair: 0.4 GB
for 433 concepts and 10,240 latents, 4 GB for 5,000. So concepts are counted in blocks that fit into
a bounded room, and of each block only what was chosen is kept. Nothing depends on the size of the
blocks: a block never sees another one, except in the best concept of a latent (of equals the first)
and in the correction, which is over all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.association.counts import ROOM, associate, concept_blocks
from plmsae.concepts.association.selection import promising_pairs, select_pairs, top_latents
from plmsae.concepts.association.significance import benjamini_hochberg, residue_pair_log_p
from plmsae.concepts.association.tables import PROMISING, concept_table, feature_table
from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import Float32, Int64

Side = tuple[Sequence[csr_array], ResidueLabels]
"""Raw activations of the proteins of a split, and their labels."""


@dataclass(frozen=True, kw_only=True)
class PairSearch:
    """What came of all pairs."""

    features: pl.DataFrame
    """`tables.feature_table`, with the best concept of each latent."""
    concepts: pl.DataFrame
    """`tables.concept_table`, with the best latent of each concept."""
    promising_Q2: Int64
    """:func:`plmsae.concepts.association.selection.promising_pairs` of `select`."""
    candidates_CR: Int64
    """:func:`plmsae.concepts.association.selection.top_latents`."""
    q_C: npt.NDArray[np.float64]
    """q-value of each concept's best pair, corrected over all pairs; 1 where there is none."""
    n_pairs_q_05: int
    n_features_q_05: int
    """Pairs, and latents with a pair, at q ≤ 0.05."""


def search_pairs(
    select: Side,
    report: Side,
    scale_F: Float32,
    density_F: npt.NDArray[np.float64],
    thresholds: Sequence[float],
    *,
    n_candidates: int,
    room: int = ROOM,
) -> PairSearch:
    """Choose pairs and thresholds on `select`, measure them on `report`.

    Parameters
    ----------
    select, report : tuple
        Activations and labels of either split, with the same concepts.
    scale_F, density_F : ndarray, shape=(F,)
        Maximum, and share of residues on which it fires, of each latent.
    thresholds : sequence of float
        Shares of a latent's maximum to try.
    n_candidates : int
        Best latents of each concept to name.
    room : int
        Bytes that the counts may take at a time; one concept is counted at least.
    """
    n_concepts, n_latents = select[1].n_concepts, len(scale_F)
    features: pl.DataFrame | None = None
    concepts, promising, candidates, q_of = [], [], [], _Significance(n_latents)
    blocks = concept_blocks(n_concepts, n_latents, len(thresholds), n_counts=2, room=room)
    for first, here in blocks:
        counted, judged = (
            associate(latents, labels.keep_concepts(here), scale_F, thresholds=thresholds)
            for latents, labels in (select, report)
        )
        best = select_pairs(counted)
        features = _better(features, feature_table(best, judged, scale_F, density_F))
        concepts.append(concept_table(best, judged))
        promising.append(np.add(promising_pairs(counted, PROMISING), [first, 0]))
        candidates.append(top_latents(counted, n_candidates))
        q_of.add(first, residue_pair_log_p(counted, judged), best.latent_C)
    assert features is not None  # noqa: S101 -- the caller checked that there is a concept
    q_C, n_pairs, n_features = q_of.corrected(n_concepts)
    return PairSearch(
        features=features,
        concepts=pl.concat(concepts),
        promising_Q2=np.concatenate(promising).astype(np.int64),
        candidates_CR=np.concatenate(candidates),
        q_C=q_C,
        n_pairs_q_05=n_pairs,
        n_features_q_05=n_features,
    )


def _better(before: pl.DataFrame | None, now: pl.DataFrame) -> pl.DataFrame:
    """Return of each latent the row with the higher F1 on select, of equals the later one."""
    if before is None:
        return now
    wins = now["f1_select"].fill_null(-1) >= before["f1_select"].fill_null(0)
    order = pl.concat([before.filter(~wins), now.filter(wins)])
    return order.sort("latent")


class _Significance:
    """P-values below 1 of the pairs, block by block."""

    def __init__(self, n_latents: int) -> None:
        self._n_latents = n_latents
        self._pair: list[Int64] = []
        self._log_p: list[npt.NDArray[np.float64]] = []
        self._best: list[Int64] = []

    def add(self, first: int, log_p_CF: npt.NDArray[np.float64], latent_C: Int64) -> None:
        """Take the pairs of the concepts from `first` on, and their best latents (-1: none)."""
        low = np.flatnonzero(log_p_CF < 0)
        self._pair.append(low + first * self._n_latents)
        self._log_p.append(log_p_CF.ravel()[low])
        concept = first + np.arange(len(latent_C))
        self._best.append(np.where(latent_C >= 0, concept * self._n_latents + latent_C, -1))

    def corrected(self, n_concepts: int) -> tuple[npt.NDArray[np.float64], int, int]:
        """Return q of the best pairs, and the pairs and latents at q ≤ 0.05."""
        pair, best = np.concatenate(self._pair), np.concatenate(self._best)
        p = np.exp(np.concatenate(self._log_p))
        q = benjamini_hochberg(p, n_concepts * self._n_latents)
        at = np.minimum(np.searchsorted(pair, best), max(len(pair) - 1, 0))
        q_C = np.ones(n_concepts)
        if len(pair):
            q_C = np.where(pair[at] == best, q[at], 1.0)
        sure = pair[q <= 0.05]
        return q_C, len(sure), len(np.unique(sure % self._n_latents))
