"""How many concepts a set of latents finds, whatever the latents are: a row of the headline table.

Every method goes through the same protocol as the SAE: scale by the maximum over the select
proteins, choose pair and threshold on select, confirm on report at F1 > 0.5 on both. The pairs are
then fixed, and counted again on resampled report proteins; with the same samples for all methods,
differences between them are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from plmsae.concepts.association.counts import INTERPLM_THRESHOLDS, ROOM, Counts, concept_blocks
from plmsae.concepts.association.pairs import GroupCounts, PairActivations, count_by_group
from plmsae.concepts.association.selection import f1_blocks
from plmsae.concepts.association.tables import FOUND
from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import Float32, Int64, max_activations, scale, stack_rows
from plmsae.core.errors import InputError

#: Residues handled at a time; dense latents make this many rows × latents entries.
_ROWS = 20_000
#: Pairs handled at a time; each may have an entry on every one of those rows.
_PAIRS = 256

Latents = Callable[[int], csr_array]
"""Gives the (length, F) latents of a protein by its index."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What one method finds."""

    method: str
    n_latents: int
    n_features: int
    """Latents with at least one concept at F1 > 0.5 on select and on report."""
    concepts: tuple[str, ...]
    """Concepts with at least one such latent."""
    n_features_B: Int64 = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """The same number of latents on each sample of report proteins."""
    n_concepts_B: Int64 = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """The same number of concepts on each sample."""
    note: str = ""
    """What a reader of the table should know about this method."""


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """The pairs above F1 0.5 on select, each at its best threshold there."""

    concept_Q: Int64
    latent_Q: Int64
    threshold_Q: Float32


def count_detected(
    method: str,
    latents_of: Latents,
    select: tuple[npt.NDArray[np.int64], ResidueLabels],
    report: tuple[npt.NDArray[np.int64], ResidueLabels],
    n_latents: int,
    *,
    weight_PB: Float32 | None = None,
    note: str = "",
    room: int = ROOM,
) -> Detection:
    """Run one method through the protocol, a few proteins at a time.

    Parameters
    ----------
    method : str
        Its name in the table.
    latents_of : callable
        Gives the (length, n_latents) latents of a protein by its index.
    select, report : tuple
        Indices of the proteins of a split, and the labels of exactly these, in this order. Both
        have the same concepts.
    n_latents : int
    weight_PB : ndarray, dtype=float32, shape=(P, B), optional
        How often each report protein is drawn in each of B samples
        (:func:`plmsae.concepts.association.bootstrap.draw_proteins`).
    note : str
        Taken over into the result.
    room : int
        Bytes that counts may take at a time. More concepts than fit are counted in blocks, and
        `latents_of` is called anew for each.

    Raises
    ------
    InputError
        If the splits have different concepts, or a latent is negative.
    """
    if select[1].concepts != report[1].concepts:
        raise InputError("the two splits are labelled with different concepts")
    highest: Float32 = np.zeros(n_latents, dtype=np.float32)
    for index in select[0]:
        highest = np.maximum(highest, max_activations([latents_of(int(index))], n_latents))
    chosen = _choose(latents_of, select, highest, room)
    n_proteins = len(report[0])
    weight = np.zeros((n_proteins, 0), dtype=np.float32) if weight_PB is None else weight_PB
    if len(weight) != n_proteins:
        raise InputError(f"weights of {len(weight)} proteins, labels of {n_proteins}")
    # The first column is the report split as it is.
    weight = np.concatenate([np.ones((n_proteins, 1), dtype=np.float32), weight], axis=1)
    above_QB = _confirmed(latents_of, report, highest, chosen, weight)
    concepts = np.unique(chosen.concept_Q[above_QB[:, 0]])
    n_features_B = _distinct(above_QB, chosen.latent_Q)
    return Detection(
        method=method,
        n_latents=n_latents,
        n_features=int(n_features_B[0]),
        concepts=tuple(select[1].concepts[int(c)] for c in concepts),
        n_features_B=n_features_B[1:],
        n_concepts_B=_distinct(above_QB, chosen.concept_Q)[1:],
        note=note,
    )


def _choose(
    latents_of: Latents,
    select: tuple[npt.NDArray[np.int64], ResidueLabels],
    highest: Float32,
    room: int,
) -> _Candidates:
    """Return the candidates of all concepts, counted as many at a time as fit into `room`."""
    n_thresholds = len(INTERPLM_THRESHOLDS)
    parts = []
    for first, here in concept_blocks(
        select[1].n_concepts, len(highest), n_thresholds, n_counts=1, room=room
    ):
        kept = select[1].keep_concepts(here)
        counts = Counts(kept, len(highest), INTERPLM_THRESHOLDS)
        for _, scaled, labels in _chunks(latents_of, select[0], kept, highest):
            counts.add(scaled, labels)
        found = _candidates(counts)
        parts.append(replace(found, concept_Q=found.concept_Q + first))
    names = ("concept_Q", "latent_Q", "threshold_Q")
    return _Candidates(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


def _candidates(select: Counts) -> _Candidates:
    concepts, latents, thresholds = [], [], []
    for block, f1_cft in f1_blocks(select):
        best_cf = f1_cft.argmax(axis=2)
        f1_cf = np.take_along_axis(f1_cft, best_cf[:, :, None], axis=2)[:, :, 0]
        concept, latent = np.nonzero(f1_cf > FOUND)
        concepts.append(concept + block.start)
        latents.append(latent)
        thresholds.append(select.thresholds_T[best_cf[concept, latent]])
    return _Candidates(
        concept_Q=np.concatenate(concepts),
        latent_Q=np.concatenate(latents),
        threshold_Q=np.concatenate(thresholds),
    )


def _confirmed(
    latents_of: Latents,
    report: tuple[npt.NDArray[np.int64], ResidueLabels],
    highest: Float32,
    chosen: _Candidates,
    weight_PB: Float32,
) -> npt.NDArray[np.bool_]:
    """Say which of the chosen pairs, nothing chosen again, are above F1 0.5 on each sample."""
    shape = (len(chosen.latent_Q), weight_PB.shape[1])
    # Sums of whole numbers, exact in float32 up to 16 million.
    names = [column.name for column in fields(GroupCounts)]
    totals = {name: np.zeros(shape, dtype=np.float32) for name in names}
    blocks = [slice(first, first + _PAIRS) for first in range(0, shape[0], _PAIRS)]
    if blocks:
        for proteins, scaled, labels in _chunks(latents_of, *report, highest):
            weight = weight_PB[proteins]
            for pairs in blocks:
                counts = _count_pairs(scaled, labels, chosen, pairs)
                for name, total in totals.items():
                    total[pairs] += getattr(counts, name).astype(np.float32) @ weight
    above_QB = np.zeros(shape, dtype=bool)
    for pairs in blocks:
        exact = {name: total[pairs].astype(np.float64) for name, total in totals.items()}
        above_QB[pairs] = GroupCounts(**exact).f1_each() > FOUND
    return above_QB


def _count_pairs(
    scaled: csr_array, labels: ResidueLabels, chosen: _Candidates, pairs: slice
) -> GroupCounts:
    """Count some of the chosen pairs in each protein of a chunk."""
    columns = scaled[:, chosen.latent_Q[pairs]].tocsc()
    pair = np.repeat(np.arange(columns.shape[1]), np.diff(columns.indptr))
    threshold_Q = chosen.threshold_Q[pairs]
    above = columns.data > threshold_Q[pair]
    activations = PairActivations(
        labels=labels,
        concept_Q=chosen.concept_Q[pairs],
        pair_E=pair[above],
        row_E=columns.indices[above].astype(np.int64),
        value_E=columns.data[above],
    )
    return count_by_group(activations, threshold_Q)


def _distinct(above_QB: npt.NDArray[np.bool_], key_Q: Int64) -> Int64:
    """Count, in each column, the distinct keys of the rows that are true."""
    if not len(key_Q):
        return np.zeros(above_QB.shape[1], dtype=np.int64)
    order = np.argsort(key_Q, kind="stable")
    first = np.unique(key_Q[order], return_index=True)[1]
    any_KB = np.logical_or.reduceat(above_QB[order], first, axis=0)
    return np.asarray(any_KB.sum(axis=0), dtype=np.int64)


def _chunks(
    latents_of: Latents,
    proteins: npt.NDArray[np.int64],
    labels: ResidueLabels,
    highest: Float32,
) -> Iterator[tuple[slice, csr_array, ResidueLabels]]:
    """Yield stretches of about `_ROWS` residues: which proteins, scaled latents, and labels."""
    starts = labels.offsets_P1
    first, n_proteins = 0, len(starts) - 1
    while first < n_proteins:
        last = int(np.searchsorted(starts, starts[first] + _ROWS, side="right")) - 1
        last = min(max(last, first + 1), n_proteins)
        rows = stack_rows([latents_of(int(i)) for i in proteins[first:last]], len(highest))
        yield slice(first, last), scale(rows, highest), labels.chunk(first, last)
        first = last
