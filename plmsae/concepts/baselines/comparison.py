"""How many concepts a set of latents finds, whatever the latents are: a row of the headline table.

Every method goes through the same protocol as the SAE: scale by the maximum over the select
proteins, choose pair and threshold on select, confirm on report at F1 > 0.5 on both. The same is
done on samples of the homology clusters of either split, choice and confirmation; with the same
samples for all methods, differences between them are paired. What the samples do not vary is the
scale, the training of the SAE and the PLM, and which labels there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.association.bootstrap import Samples, percentile_interval
from plmsae.concepts.association.chance import MARGIN, f1_always_on
from plmsae.concepts.association.counts import INTERPLM_THRESHOLDS, ROOM, Counts, concept_blocks
from plmsae.concepts.association.pairs import GroupCounts, PairActivations, count_by_protein
from plmsae.concepts.association.selection import promising_pairs
from plmsae.concepts.association.signed_counts import SignedChunk, SignedUnits
from plmsae.concepts.association.tables import PROMISING, is_found
from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import (
    Float32,
    Int64,
    check_thresholds,
    max_activations,
    scale,
    stack_rows,
)
from plmsae.core.errors import InputError

#: Residues handled at a time; dense latents make this many rows × latents entries.
_ROWS = 20_000
#: Pairs handled at a time; each may have an entry on every one of those rows.
_PAIRS = 256

Latents = Callable[[int], csr_array] | SignedUnits
"""Gives the (length, F) latents of a protein by its index; or dense units, which are two each."""


COUNTS = (
    "n_features", "n_concepts", "n_features_beyond_chance", "n_concepts_beyond_chance",
)  # fmt: skip
PAIR_SCHEMA = {
    "concept": pl.String,
    "latent": pl.Int32,
    "threshold": pl.Float64,
    "f1_lift": pl.Float64,
    "f1_lift_low": pl.Float64,
    "beyond_chance": pl.Boolean,
}
"""``f1_lift`` is F1 on report less that of the detector that always fires; ``f1_lift_low`` the
lower end of its 95 % interval, null without samples."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What one method finds.

    Of each number there is one by InterPLM's rule (F1 > 0.5 on select and on report), and one
    *beyond chance*: the pair also beats the detector that always fires by `chance.MARGIN`, with the
    lower end of the interval of the difference.
    """

    method: str
    n_latents: int
    n_features: int
    """Latents with at least one concept at F1 > 0.5 on select and on report."""
    concepts: tuple[str, ...]
    """Concepts with at least one such latent."""
    n_features_beyond_chance: int = 0
    concepts_beyond_chance: tuple[str, ...] = ()
    counts_B: Mapping[str, Int64] = field(default_factory=dict)
    """`COUNTS` on each sample, by name."""
    pairs: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=PAIR_SCHEMA))
    """The pairs at F1 > 0.5 on both splits: `PAIR_SCHEMA`, by concept and latent."""
    best: Mapping[str, float] = field(default_factory=dict)
    """F1 on report of each concept's best pair, chosen on select; without the concepts for which no
    pair reaches `PROMISING` there."""
    note: str = ""
    """What a reader of the table should know about this method."""

    def counts(self) -> dict[str, int]:
        """Return `COUNTS` by name."""
        return {
            "n_features": self.n_features,
            "n_concepts": len(self.concepts),
            "n_features_beyond_chance": self.n_features_beyond_chance,
            "n_concepts_beyond_chance": len(self.concepts_beyond_chance),
        }

    def metrics(self) -> dict[str, float]:
        """Return the counts as metrics of an evaluation."""
        return {
            "n_features_f1_50": self.n_features,
            "n_concepts_f1_50": len(self.concepts),
            "n_pairs_f1_50": self.pairs.height,
            "n_features_beyond_chance": self.n_features_beyond_chance,
            "n_concepts_beyond_chance": len(self.concepts_beyond_chance),
        }


def count_detected(
    method: str,
    latents_of: Latents,
    select: tuple[npt.NDArray[np.int64], ResidueLabels],
    report: tuple[npt.NDArray[np.int64], ResidueLabels],
    n_latents: int,
    *,
    samples: Samples | None = None,
    note: str = "",
    room: int = ROOM,
) -> Detection:
    """Run one method through the protocol, a few proteins at a time.

    Parameters
    ----------
    latents_of : callable or SignedUnits
        Gives the (length, n_latents) latents of a protein by its index.
    select, report : tuple
        Indices of the proteins of a split, and the labels of exactly these, in this order. Both
        have the same concepts.
    samples : Samples, optional
        How often each protein of either split is drawn in each of B samples. In every sample pairs
        and thresholds are chosen again on its select proteins.
    note : str
        Taken over into the result.
    room : int
        Bytes that counts may take at a time. More concepts than fit are counted in blocks, and
        `latents_of` is called again for each.

    Raises
    ------
    InputError
        If the splits have different concepts, or a latent is negative.
    """
    if select[1].concepts != report[1].concepts:
        raise InputError("the two splits are labelled with different concepts")
    if isinstance(latents_of, SignedUnits):
        scale_F = latents_of.highest(select[0])
    else:
        scale_F = max_activations((latents_of(int(i)) for i in select[0]), n_latents)
    promising_Q2 = _promising(latents_of, select, scale_F, room)
    return confirm_pairs(
        method, latents_of, select, report, scale_F, promising_Q2,
        samples=samples, note=note,
    )  # fmt: skip


def confirm_pairs(
    method: str,
    latents_of: Latents,
    select: tuple[npt.NDArray[np.int64], ResidueLabels],
    report: tuple[npt.NDArray[np.int64], ResidueLabels],
    scale_F: Float32,
    promising_Q2: Int64,
    *,
    samples: Samples | None = None,
    note: str = "",
) -> Detection:
    """Return what is found of the pairs that are promising on select; see :func:`count_detected`.

    Parameters
    ----------
    scale_F : ndarray, dtype=float32, shape=(F,)
        The scale of each latent: its maximum over the select proteins.
    promising_Q2 : ndarray of int, shape=(Q, 2)
        :func:`plmsae.concepts.association.selection.promising_pairs` of select.
    """
    concept_Q, latent_Q = promising_Q2[:, 0], promising_Q2[:, 1]
    weight = _with_original(samples.report_PB if samples else None, len(report[0]))
    chosen_by = _with_original(samples.select_PB if samples else None, len(select[0]))
    f1_select_QTB = _f1_by_sample(latents_of, select, scale_F, promising_Q2, chosen_by)
    f1_select_QTB = np.nan_to_num(f1_select_QTB)
    threshold_Q1B = f1_select_QTB.argmax(axis=1)[:, None]
    f1_QTB = _f1_by_sample(latents_of, report, scale_F, promising_Q2, weight)
    f1_QB = np.take_along_axis(f1_QTB, threshold_Q1B, axis=1)[:, 0]
    found_QB = is_found(f1_QB, f1_select_QTB.max(axis=1))
    always_on_QB = f1_always_on(report[1], concept_Q, weight)
    # The interval of a pair's own lift is at the threshold that it has, as its F1 is.
    own = np.take_along_axis(f1_QTB, threshold_Q1B[:, :, :1], axis=1)[:, 0] - always_on_QB
    lift_Q, low_Q = own[:, 0], percentile_interval(own[:, 1:])[0]
    margin_Q = MARGIN + np.maximum(lift_Q - np.where(np.isnan(low_Q), lift_Q, low_Q), 0)
    # The width of that interval is taken as the same in every sample.
    beyond_QB = found_QB & (f1_QB - always_on_QB > margin_Q[:, None])
    by_name = {
        "n_features": _distinct(found_QB, latent_Q),
        "n_concepts": _distinct(found_QB, concept_Q),
        "n_features_beyond_chance": _distinct(beyond_QB, latent_Q),
        "n_concepts_beyond_chance": _distinct(beyond_QB, concept_Q),
    }
    names = np.array(select[1].concepts, dtype=object)
    kept = found_QB[:, 0]
    thresholds = check_thresholds(INTERPLM_THRESHOLDS)
    return Detection(
        method=method,
        n_latents=len(scale_F),
        n_features=int(by_name["n_features"][0]),
        concepts=tuple(names[np.unique(concept_Q[kept])]),
        n_features_beyond_chance=int(by_name["n_features_beyond_chance"][0]),
        concepts_beyond_chance=tuple(names[np.unique(concept_Q[beyond_QB[:, 0]])]),
        counts_B={name: counts[1:] for name, counts in by_name.items()},
        pairs=pl.DataFrame(
            {
                "concept": names[concept_Q[kept]].tolist(),
                "latent": latent_Q[kept],
                "threshold": thresholds[threshold_Q1B[kept, 0, 0]],
                "f1_lift": lift_Q[kept],
                "f1_lift_low": low_Q[kept],
                "beyond_chance": beyond_QB[kept, 0],
            },
            schema=PAIR_SCHEMA,
        ).with_columns(pl.col(pl.Float64).fill_nan(None)),
        best=_best(names[concept_Q], f1_select_QTB.max(axis=1)[:, 0], f1_QB[:, 0]),
        note=note,
    )


def _best(
    concept_Q: npt.NDArray[np.object_],
    f1_select_Q: npt.NDArray[np.floating],
    f1_Q: npt.NDArray[np.floating],
) -> dict[str, float]:
    """Return F1 on report of the pair that is best on select, for each concept that has any."""
    order = np.argsort(f1_select_Q, kind="stable")  # the best comes last, and stays
    return {str(concept_Q[q]): float(np.nan_to_num(f1_Q[q])) for q in order}


def _promising(
    latents_of: Latents,
    select: tuple[npt.NDArray[np.int64], ResidueLabels],
    scale_F: Float32,
    room: int,
) -> Int64:
    """Return the promising pairs, of as many concepts at a time as fit into `room`."""
    n_thresholds = len(INTERPLM_THRESHOLDS)
    parts = []
    for first, here in concept_blocks(
        select[1].n_concepts, len(scale_F), n_thresholds, n_counts=1, room=room
    ):
        kept = select[1].keep_concepts(here)
        counts = Counts(kept, len(scale_F), INTERPLM_THRESHOLDS)
        for _, chunk in _chunks(latents_of, select[0], kept, scale_F):
            chunk.add_to(counts)
        parts.append(np.add(promising_pairs(counts, PROMISING), [first, 0]))
    return np.concatenate(parts)


def _with_original(weight_PB: Float32 | None, n_proteins: int) -> Float32:
    """Put the proteins as they are before the samples, as the first column."""
    weight = np.zeros((n_proteins, 0), dtype=np.float32) if weight_PB is None else weight_PB
    if len(weight) != n_proteins:
        raise InputError(f"weights of {len(weight)} proteins, labels of {n_proteins}")
    return np.concatenate([np.ones((n_proteins, 1), dtype=np.float32), weight], axis=1)


def _f1_by_sample(
    latents_of: Latents,
    side: tuple[npt.NDArray[np.int64], ResidueLabels],
    scale_F: Float32,
    pairs_Q2: Int64,
    weight_PB: Float32,
) -> npt.NDArray[np.float64]:
    """Return F1 of pairs at every threshold on each sample of the proteins, shape=(Q, T, B)."""
    thresholds_T = check_thresholds(INTERPLM_THRESHOLDS)
    shape = (len(pairs_Q2), len(thresholds_T), weight_PB.shape[1])
    # Sums of whole numbers, exact in float32 up to 16 million.
    names = [column.name for column in fields(GroupCounts)]
    totals = {name: np.zeros(shape, dtype=np.float32) for name in names}
    blocks = [slice(first, first + _PAIRS) for first in range(0, shape[0], _PAIRS)]
    if blocks:
        for proteins, chunk in _chunks(latents_of, *side, scale_F):
            for block in blocks:
                counts = chunk.count_by_protein(pairs_Q2[block], thresholds_T)
                for name, total in totals.items():
                    total[block] += getattr(counts, name).astype(np.float32) @ weight_PB[proteins]
    f1 = np.zeros(shape)
    for block in blocks:
        exact = {name: total[block].astype(np.float64) for name, total in totals.items()}
        f1[block] = GroupCounts(**exact).f1_each()
    return f1


@dataclass(frozen=True, kw_only=True)
class _SparseChunk:
    """Scaled sparse activations of some whole proteins, and their labels."""

    scaled: csr_array
    labels: ResidueLabels

    def add_to(self, counts: Counts) -> None:
        """Add them to the counts."""
        counts.add(self.scaled, self.labels)

    def count_by_protein(self, pairs_Q2: Int64, thresholds_T: Float32) -> GroupCounts:
        """Count some pairs apart for each protein, shape (Q, T, P)."""
        columns = self.scaled[:, pairs_Q2[:, 1]].tocsc()
        activations = PairActivations(
            labels=self.labels,
            concept_Q=pairs_Q2[:, 0],
            pair_E=np.repeat(np.arange(columns.shape[1]), np.diff(columns.indptr)),
            row_E=columns.indices.astype(np.int64),
            value_E=columns.data,
        )
        return count_by_protein(activations, thresholds_T)


def _distinct(above_QB: npt.NDArray[np.bool_], key_Q: Int64) -> Int64:
    """Count, in each column, the distinct keys of the rows that are true."""
    if not len(key_Q):
        return np.zeros(above_QB.shape[1], dtype=np.int64)
    order = np.argsort(key_Q, kind="stable")
    first = np.unique(key_Q[order], return_index=True)[1]
    any_KB = np.logical_or.reduceat(above_QB[order], first, axis=0)
    return np.asarray(any_KB.sum(axis=0), dtype=np.int64)


def _chunks(
    latents_of: Latents, proteins: npt.NDArray[np.int64], labels: ResidueLabels, scale_F: Float32
) -> Iterator[tuple[slice, _SparseChunk | SignedChunk]]:
    """Yield stretches of about `_ROWS` residues: which proteins, and their scaled activations."""
    starts = labels.offsets_P1
    first, n_proteins = 0, len(starts) - 1
    while first < n_proteins:
        last = int(np.searchsorted(starts, starts[first] + _ROWS, side="right")) - 1
        last = min(max(last, first + 1), n_proteins)
        here, members = labels.chunk(first, last), proteins[first:last]
        if isinstance(latents_of, SignedUnits):
            yield slice(first, last), latents_of.chunk(members, here, scale_F)
        else:
            rows = stack_rows([latents_of(int(i)) for i in members], len(scale_F))
            yield slice(first, last), _SparseChunk(scaled=scale(rows, scale_F), labels=here)
        first = last
