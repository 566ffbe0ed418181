"""Counts of dense signed units, which fire everywhere: without sparse arrays.

Every unit is two latents, above and below zero, as in
:func:`plmsae.concepts.baselines.control_latents.signed_units`. Half of these are active on every
residue, so that sparse products over them cost many times what dense arithmetic does. The counts
are the same whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from plmsae.concepts.association.chance import labelled_residues
from plmsae.concepts.association.counts import Counts
from plmsae.concepts.association.pairs import GroupCounts
from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import Float32, Int64, expand


@dataclass(frozen=True, kw_only=True)
class SignedUnits:
    """A method of which every unit has a value on every residue."""

    values_of: Callable[[int], Float32]
    """Gives the (length, K) values of a protein by its index: float32, 0 where a unit is silent."""
    n_units: int
    """K; there are twice as many latents."""

    def highest(self, proteins: Int64) -> Float32:
        """Return the highest activation of each latent over some proteins, shape=(2 K,)."""
        up = np.zeros(self.n_units, dtype=np.float32)
        down = np.zeros(self.n_units, dtype=np.float32)
        for index in proteins:
            values = self.values_of(int(index))
            if len(values):
                up, down = np.maximum(up, values.max(axis=0)), np.minimum(down, values.min(axis=0))
        return np.concatenate([up, -down])

    def chunk(self, proteins: Int64, labels: ResidueLabels, scale_F: Float32) -> SignedChunk:
        """Return the scaled activations of a few proteins.

        Parameters
        ----------
        proteins : ndarray of int
            Their indices.
        labels : ResidueLabels
            The labels of exactly these proteins.
        scale_F : ndarray, dtype=float32, shape=(2 K,)
            The scale of each latent; a latent with scale 0 is silent.
        """
        values_NK = np.empty((labels.n_rows, self.n_units), dtype=np.float32)
        for first, last, index in zip(
            labels.offsets_P1[:-1], labels.offsets_P1[1:], proteins, strict=True
        ):
            values_NK[first:last] = self.values_of(int(index))
        # Divided by infinity, a latent without a scale is above no threshold.
        divisor = np.where(scale_F > 0, scale_F, np.float32(np.inf))
        up, down = divisor[: self.n_units], -divisor[self.n_units :]
        scaled_NF = np.empty((labels.n_rows, 2 * self.n_units), dtype=np.float32)
        np.divide(values_NK, up, out=scaled_NF[:, : self.n_units])
        np.divide(values_NK, down, out=scaled_NF[:, self.n_units :])
        return SignedChunk(scaled_NF=scaled_NF, labels=labels)


@dataclass(frozen=True, kw_only=True)
class SignedChunk:
    """Scaled activations of some whole proteins; below 0 where the other sign is active."""

    scaled_NF: Float32
    labels: ResidueLabels

    def add_to(self, counts: Counts) -> None:
        """Count what :meth:`plmsae.concepts.association.counts.Counts.add` counts."""
        labels, thresholds_T = self.labels, counts.thresholds_T
        n_concepts, n_latents = labels.n_concepts, self.scaled_NF.shape[1]
        shape = (n_concepts, n_latents, len(thresholds_T))
        fires_FT = np.zeros(shape[1:], dtype=np.int64)
        inside_CFT, hits_CFT = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32)
        mask_CN = labels.mask_CN()
        spans = np.flatnonzero(labels.is_span_C[labels.concept_I])
        highest_IF = _highest(self.scaled_NF, labels.start_I[spans], labels.end_I[spans])
        concept_CI = _membership(labels.concept_I[spans], n_concepts)
        for t, threshold in enumerate(thresholds_T):
            above_NF = (self.scaled_NF > threshold).astype(np.int32)
            fires_FT[:, t] = above_NF.sum(axis=0)
            inside_CFT[:, :, t] = mask_CN @ above_NF
            hits_CFT[:, :, t] = concept_CI @ (highest_IF > threshold).astype(np.int32)
        counts.add_above(fires_FT, inside_CFT, hits_CFT, labels)

    def count_by_protein(self, pairs_Q2: Int64, thresholds_T: Float32) -> GroupCounts:
        """Count what :func:`plmsae.concepts.association.pairs.count_by_protein` counts.

        Parameters
        ----------
        pairs_Q2 : ndarray of int, shape=(Q, 2)
            Concept id and latent.
        thresholds_T : ndarray, dtype=float32, shape=(T,)
            Ascending.

        Returns
        -------
        GroupCounts
            Of shape (Q, T, P).
        """
        labels = self.labels
        n_proteins = len(labels.accessions)
        concept_Q, latent_Q = pairs_Q2[:, 0], pairs_Q2[:, 1]
        shape = (len(pairs_Q2), len(thresholds_T), n_proteins)
        fires, inside, found, targets = (np.zeros(shape) for _ in range(4))
        latents, place_Q = np.unique(latent_Q, return_inverse=True)
        protein_PN = _membership(labels.protein_N, n_proteins)
        columns_NU = self.scaled_NF[:, latents]
        for t, threshold in enumerate(thresholds_T):
            fires[:, t] = (protein_PN @ (columns_NU > threshold).astype(np.int32)).T[place_Q]
        residues_QP = labelled_residues(labels, concept_Q)
        stretch_concept, stretch_start, stretch_end = labels.merged()
        for concept in np.unique(concept_Q):
            here = np.flatnonzero(concept_Q == concept)
            mine = stretch_concept == concept
            rows = expand(stretch_start[mine], stretch_end[mine])
            values = columns_NU[np.ix_(rows, place_Q[here])]
            by_protein = _above_in_groups(values, labels.protein_N[rows], n_proteins, thresholds_T)
            inside[here] = by_protein
            if not labels.is_span_C[concept]:
                found[here], targets[here] = by_protein, residues_QP[here, None]
                continue
            instances = np.flatnonzero(labels.concept_I == concept)
            protein_I = labels.protein_I[instances]
            highest = _highest(
                columns_NU[:, place_Q[here]], labels.start_I[instances], labels.end_I[instances]
            )
            found[here] = _above_in_groups(highest, protein_I, n_proteins, thresholds_T)
            targets[here] = np.bincount(protein_I, minlength=n_proteins)
        return GroupCounts(
            true_positives_QG=inside, fires_QG=fires, found_QG=found, targets_QG=targets
        )


def _highest(values_NF: Float32, start_I: Int64, end_I: Int64) -> Float32:
    """Return the highest value of each column in each stretch of rows, shape=(I, F)."""
    highest_IF = np.empty((len(start_I), values_NF.shape[1]), dtype=np.float32)
    # Faster than `maximum.reduceat`, which goes through the rows column by column.
    for i, (start, end) in enumerate(zip(start_I, end_I, strict=True)):
        np.max(values_NF[start:end], axis=0, out=highest_IF[i])
    return highest_IF


def _membership(group_N: Int64, n_groups: int) -> csr_array:
    """Return which rows are of which group: int32 ones, shape (G, N)."""
    ones = np.ones(len(group_N), dtype=np.int32)
    return csr_array((ones, (group_N, np.arange(len(group_N)))), shape=(n_groups, len(group_N)))


def _above_in_groups(
    values_NQ: Float32, group_N: Int64, n_groups: int, thresholds_T: Float32
) -> npt.NDArray[np.int32]:
    """Count the rows of each group whose value is above each threshold, shape=(Q, T, G)."""
    member_GN = _membership(group_N, n_groups)
    counts = [member_GN @ (values_NQ > threshold).astype(np.int32) for threshold in thresholds_T]
    return np.stack(counts).transpose(2, 0, 1)
