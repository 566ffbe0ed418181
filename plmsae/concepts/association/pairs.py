"""A closer look at chosen pairs: every activation of the pair's latent, and what lies under it.

The association step counts all pairs at a few thresholds. For the pairs that were chosen, the
exact curves, intervals and controls need the activations themselves, in the order of the rows:
:class:`PairActivations` holds them for some (concept, latent) pairs at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from plmsae.concepts.association.chance import labelled_residues
from plmsae.concepts.association.selection import f1_score
from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import Float32, Int64, chunks_of_proteins, expand, stack_rows
from plmsae.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PairActivations:
    """The non-zero scaled activations of Q (concept, latent) pairs over some proteins."""

    labels: ResidueLabels
    concept_Q: Int64
    pair_E: Int64
    """Pair of each entry; ascending."""
    row_E: Int64
    """Row of each entry; ascending within a pair."""
    value_E: Float32
    """Scaled activation, > 0."""

    @property
    def n_pairs(self) -> int:
        """Q."""
        return len(self.concept_Q)

    def inside_E(self) -> npt.NDArray[np.bool_]:
        """Return whether each entry lies on a residue that carries the pair's concept."""
        concept, start, end = self.labels.merged()
        room = self.labels.n_rows + 1
        line = self.concept_Q[self.pair_E] * room + self.row_E
        stretch = np.searchsorted(concept * room + end, line, side="right")
        begins = np.append(concept * room + start, np.iinfo(np.int64).max)
        return begins[stretch] <= line

    def instances_J(self) -> tuple[Int64, Int64]:
        """Return pair and instance of every instance of every pair's concept, by pair."""
        order = np.argsort(self.labels.concept_I, kind="stable")
        count_C = self.labels.instances_C()
        first_C = np.cumsum(count_C) - count_C
        first, count = first_C[self.concept_Q], count_C[self.concept_Q]
        pair = np.repeat(np.arange(self.n_pairs), count)
        return pair, order[expand(first, first + count)]

    def maximum_J(self) -> Float32:
        """Return the highest activation inside each of :meth:`instances_J`; 0 for a silent one."""
        pair, instance = self.instances_J()
        room = self.labels.n_rows + 1
        line = self.pair_E * room + self.row_E
        first = np.searchsorted(line, pair * room + self.labels.start_I[instance])
        last = np.searchsorted(line, pair * room + self.labels.end_I[instance])
        highest = np.zeros(len(pair), dtype=np.float32)
        some = np.flatnonzero(last > first)
        if len(some):
            # reduceat over [first, last) pairs; the stretches in between are thrown away.
            cuts = np.stack([first[some], last[some]], axis=1).ravel()
            values = np.append(self.value_E, np.float32(0))
            highest[some] = np.maximum.reduceat(values, cuts)[::2]
        return highest


def gather_pairs(
    latents: Sequence[csr_array],
    labels: ResidueLabels,
    concept_Q: npt.ArrayLike,
    latent_Q: npt.ArrayLike,
    max_activation_F: npt.ArrayLike,
) -> PairActivations:
    """Collect the activations of some pairs.

    Parameters
    ----------
    latents : sequence of csr_array, shape=(length, F)
        Raw activations, one array per protein, in the order of the labels.
    concept_Q, latent_Q : array_like of int, shape=(Q,)
        The pairs.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent; a latent with scale 0 is silent.
    """
    latent = np.asarray(latent_Q, dtype=np.int64)
    if len(latents) != len(labels.accessions):
        raise InputError(f"latents of {len(latents)} proteins, labels of {len(labels.accessions)}")
    pairs, rows, values = [], [], []
    for first, last in chunks_of_proteins(latents):
        columns = stack_rows(latents[first:last])[:, latent].tocsc()
        pairs.append(np.repeat(np.arange(len(latent)), np.diff(columns.indptr)))
        rows.append(columns.indices.astype(np.int64) + labels.offsets_P1[first])
        values.append(columns.data.astype(np.float32))
    pair = np.concatenate(pairs)
    # Chunks follow one another in row order, so a stable sort by pair keeps rows ascending.
    order = np.argsort(pair, kind="stable")
    pair, row = pair[order], np.concatenate(rows)[order]
    divisor = np.asarray(max_activation_F, dtype=np.float32)[latent][pair]
    raw = np.concatenate(values)[order]
    value = np.divide(raw, divisor, out=np.zeros_like(divisor), where=divisor > 0)
    kept = value > 0
    return PairActivations(
        labels=labels,
        concept_Q=np.asarray(concept_Q, dtype=np.int64),
        pair_E=pair[kept],
        row_E=row[kept],
        value_E=value[kept],
    )


@dataclass(frozen=True, kw_only=True)
class GroupCounts:
    """Counts of Q pairs, at one threshold each, in G groups of proteins; float arrays (Q, G)."""

    true_positives_QG: npt.NDArray[np.float64]
    fires_QG: npt.NDArray[np.float64]
    found_QG: npt.NDArray[np.float64]
    """Instances (spans) or residues (sites) found."""
    targets_QG: npt.NDArray[np.float64]
    """Instances or residues to be found."""

    def f1(self, weight_GB: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.float64]:
        """Return F1, shape (Q,), or (Q, B) with every group counted `weight_GB` times."""

        def total(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            return counts.sum(axis=1) if weight_GB is None else counts @ weight_GB

        return GroupCounts(
            true_positives_QG=total(self.true_positives_QG),
            fires_QG=total(self.fires_QG),
            found_QG=total(self.found_QG),
            targets_QG=total(self.targets_QG),
        ).f1_each()

    def f1_each(self) -> npt.NDArray[np.float64]:
        """Return F1 of every pair in every group by itself, in the shape of the counts."""

        def ratio(
            part: npt.NDArray[np.floating], whole: npt.NDArray[np.floating]
        ) -> npt.NDArray[np.float64]:
            share: npt.NDArray[np.float64] = np.divide(
                part, whole, out=np.full(whole.shape, np.nan), where=whole > 0
            )
            return share

        precision = ratio(self.true_positives_QG, self.fires_QG)
        return f1_score(precision, ratio(self.found_QG, self.targets_QG))


def count_by_group(
    pairs: PairActivations, threshold_Q: npt.ArrayLike, group_P: npt.ArrayLike | None = None
) -> GroupCounts:
    """Count pairs at one threshold each, apart for groups of proteins.

    Parameters
    ----------
    threshold_Q : array_like, shape=(Q,)
        Share of the latent's maximum that an activation must be above.
    group_P : array_like of int, optional, shape=(P,)
        Group (homology cluster) of each protein, 0 … G - 1. By default every protein is a group.
    """
    labels = pairs.labels
    n_proteins = len(labels.accessions)
    group = np.arange(n_proteins) if group_P is None else np.asarray(group_P, dtype=np.int64)
    n_groups = int(group.max()) + 1 if len(group) else 0
    threshold = np.asarray(threshold_Q, dtype=np.float32)
    shape = (pairs.n_pairs, n_groups)

    def table(pair: Int64, member: Int64, weight: npt.ArrayLike) -> npt.NDArray[np.float64]:
        flat = np.bincount(pair * n_groups + member, weights=weight, minlength=shape[0] * shape[1])
        return flat.reshape(shape).astype(np.float64)

    above = pairs.value_E > threshold[pairs.pair_E]
    protein_E = np.searchsorted(labels.offsets_P1, pairs.row_E, side="right") - 1
    group_E = group[protein_E]
    fires = table(pairs.pair_E, group_E, above)
    inside = table(pairs.pair_E, group_E, above & pairs.inside_E())
    pair_J, instance_J = pairs.instances_J()
    group_J = group[labels.protein_I[instance_J]]
    hits = table(pair_J, group_J, pairs.maximum_J() > threshold[pair_J])
    instances = table(pair_J, group_J, np.ones(len(pair_J)))
    residues = np.zeros(shape)
    np.add.at(residues.T, group, labelled_residues(labels, pairs.concept_Q).T)
    is_span = labels.is_span_C[pairs.concept_Q][:, None]
    return GroupCounts(
        true_positives_QG=inside,
        fires_QG=fires,
        found_QG=np.where(is_span, hits, inside),
        targets_QG=np.where(is_span, instances, residues),
    )


def count_by_protein(pairs: PairActivations, thresholds_T: Float32) -> GroupCounts:
    """Count pairs at every threshold, apart for each protein: the counts are (Q, T, P).

    Parameters
    ----------
    thresholds_T : ndarray, dtype=float32, shape=(T,)
        Ascending shares of the latent's maximum that an activation must be above.
    """
    labels = pairs.labels
    shape = (pairs.n_pairs, len(thresholds_T), len(labels.accessions))

    def table(
        pair: Int64, value: Float32, protein: Int64, counted: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        # Each goes to the highest threshold that it is above; sums over these and those below.
        highest = np.searchsorted(thresholds_T, value, side="left") - 1
        kept = counted & (highest >= 0)
        place = (pair[kept] * shape[1] + highest[kept]) * shape[2] + protein[kept]
        by_bin = np.bincount(place, minlength=shape[0] * shape[1] * shape[2]).reshape(shape)
        return np.cumsum(by_bin[:, ::-1], axis=1)[:, ::-1].astype(np.float64)

    protein_E = np.searchsorted(labels.offsets_P1, pairs.row_E, side="right") - 1
    every_E = np.ones(len(protein_E), dtype=bool)
    inside = table(pairs.pair_E, pairs.value_E, protein_E, pairs.inside_E())
    pair_J, instance_J = pairs.instances_J()
    protein_J = labels.protein_I[instance_J]
    hits = table(pair_J, pairs.maximum_J(), protein_J, np.ones(len(pair_J), dtype=bool))
    instances = np.bincount(pair_J * shape[2] + protein_J, minlength=shape[0] * shape[2])
    is_span = labels.is_span_C[pairs.concept_Q][:, None]
    residues = labelled_residues(labels, pairs.concept_Q)
    targets = np.where(is_span, instances.reshape(shape[0], shape[2]), residues)
    return GroupCounts(
        true_positives_QG=inside,
        fires_QG=table(pairs.pair_E, pairs.value_E, protein_E, every_E),
        found_QG=np.where(is_span[:, None], hits, inside),
        targets_QG=np.broadcast_to(targets[:, None], shape).astype(np.float64),
    )
