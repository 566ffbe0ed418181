"""How often each latent fires where each concept is: all thresholds, one pass, no loop over pairs.

The protocol of InterPLM (Simon & Zou, Nature Methods 2025, Methods, "Feature-concept
associations"): an activation counts when it is *above* a threshold on the latent's scaled
activation; precision counts residues; recall counts instances for spans (one firing residue
inside is a hit) and residues for sites.

How it is fast. Each activation is put once into the bin of the highest threshold it passes.

- True positives: (C, N) label mask @ (N, F·T) one-hot of latent and bin, one sparse product.
- Instance hits need, for each instance and latent, the highest bin among its residues. A product
  sums where a maximum is wanted, so bin b weighs ``2**(w·b)`` with w bits, enough to count the
  residues of the longest instance: the leading digit of the sum in base ``2**w`` is the maximum.
- Counts above threshold t are sums over the bins t and up, taken once at the end.

Cost grows with the active entries under a label, not with C × F × T; memory beyond the two
(C, F, T) tables of counts is bounded by the chunk.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import (
    Float32,
    Int64,
    check_thresholds,
    chunks_of_proteins,
    expand,
    same_width,
    scale,
    stack_rows,
    threshold_bins,
)
from plmsae.core.errors import InputError

Integer = TypeVar("Integer", np.int32, np.int64)

INTERPLM_THRESHOLDS = (0.0, 0.15, 0.5, 0.6, 0.8)
"""Shares of a latent's maximum (InterPLM, Methods)."""

ROOM = 2**30
"""Bytes that tables of counts may take at a time."""


class Counts:
    """What the residues seen so far say about every concept, latent and threshold.

    Feed it chunk by chunk with :meth:`add`; every chunk holds whole proteins. Two (C, F, T) tables
    of int32 are held: 433 concepts × 10,240 latents × 5 thresholds take 180 MB.

    Parameters
    ----------
    labels : ResidueLabels
        Any labels with the concepts to count; only the names and kinds are taken.
    thresholds : sequence of float
        T ascending shares of a latent's maximum.

    Attributes
    ----------
    n_rows : int
        Residues seen.
    n_residues_C, n_instances_C, n_proteins_C : ndarray, dtype=int64, shape=(C,)
        Labelled residues (union), instances and proteins seen.
    """

    def __init__(
        self,
        labels: ResidueLabels,
        n_latents: int,
        thresholds: Sequence[float] = INTERPLM_THRESHOLDS,
    ) -> None:
        self.concepts = labels.concepts
        self.is_span_C = labels.is_span_C
        self.thresholds_T: Float32 = check_thresholds(thresholds)
        self.n_latents = n_latents
        n_concepts, n_thresholds = len(self.concepts), len(self.thresholds_T)
        if n_latents * n_thresholds > np.iinfo(np.int32).max:
            raise InputError(f"{n_latents} latents × {n_thresholds} thresholds are too many")
        shape = (n_concepts, n_latents * n_thresholds)
        # By bin, not yet by threshold; column = latent · T + bin.
        self._true_positives = np.zeros(shape, dtype=np.int32)
        self._hits = np.zeros(shape, dtype=np.int32)
        self._fires = np.zeros(n_latents * n_thresholds, dtype=np.int64)
        self.n_rows = 0
        self.n_residues_C: Int64 = np.zeros(n_concepts, dtype=np.int64)
        self.n_instances_C: Int64 = np.zeros(n_concepts, dtype=np.int64)
        self.n_proteins_C: Int64 = np.zeros(n_concepts, dtype=np.int64)

    def add(self, scaled: csr_array, labels: ResidueLabels) -> None:
        """Count the rows of some whole proteins.

        Parameters
        ----------
        scaled : csr_array, shape=(n, F)
            Activations as :func:`plmsae.concepts.latents.scale` gives them.
        labels : ResidueLabels
            The labels of exactly these rows, with the concepts of this table.

        Raises
        ------
        InputError
            If rows, latents or concepts do not match.
        """
        if scaled.shape != (labels.n_rows, self.n_latents):
            raise InputError(
                f"activations are of {scaled.shape[0]} residues × {scaled.shape[1]} latents, "
                f"labels of {labels.n_rows} residues, counts of {self.n_latents} latents"
            )
        if labels.concepts != self.concepts:
            raise InputError("the labels are of other concepts than the counts")
        fired, bins = _above_lowest(scaled, self.thresholds_T)
        n_bins = len(self.thresholds_T)
        column = fired.indices.astype(np.int32) * np.int32(n_bins) + bins
        self._fires += np.bincount(column, minlength=len(self._fires))
        one_hot = csr_array(
            (np.ones(len(column), dtype=np.int32), column, fired.indptr),
            shape=(labels.n_rows, len(self._fires)),
        )
        _add_into(self._true_positives, labels.mask_CN() @ one_hot)
        spans = np.flatnonzero(self.is_span_C[labels.concept_I])
        _add_into(self._hits, _span_hits(fired, bins, n_bins, labels, spans))
        self._add_labels(labels)

    def add_above(
        self,
        fires_FT: Int64,
        true_positives_CFT: npt.NDArray[np.int32],
        hits_CFT: npt.NDArray[np.int32],
        labels: ResidueLabels,
    ) -> None:
        """Add what was counted elsewhere on some whole proteins.

        Parameters
        ----------
        fires_FT : ndarray of int, shape=(F, T)
            Residues on which each latent is above each threshold.
        true_positives_CFT : ndarray of int, shape=(C, F, T)
            Of these, the residues that carry each concept.
        hits_CFT : ndarray of int, shape=(C, F, T)
            Instances of each span with such a residue; 0 for sites.
        labels : ResidueLabels
            The labels of these proteins, with the concepts of this table.
        """
        if labels.concepts != self.concepts:
            raise InputError("the labels are of other concepts than the counts")
        for table, above in (
            (self._fires, fires_FT),
            (self._true_positives, true_positives_CFT),
            (self._hits, hits_CFT),
        ):
            by_bin = above.copy()
            by_bin[..., :-1] -= above[..., 1:]
            table += by_bin.reshape(table.shape)
        self._add_labels(labels)

    def _add_labels(self, labels: ResidueLabels) -> None:
        self.n_rows += labels.n_rows
        self.n_residues_C += labels.residues_C()
        self.n_instances_C += labels.instances_C()
        self.n_proteins_C += labels.proteins_C()

    def __add__(self, other: Counts) -> Counts:
        """Return the counts of two sets of proteins, of the same concepts and latents, together."""
        if (self.concepts, self._fires.shape) != (other.concepts, other._fires.shape):
            raise InputError("counts of other concepts or latents cannot be added")
        both = copy.copy(self)
        both._true_positives = self._true_positives + other._true_positives
        both._hits = self._hits + other._hits
        both._fires = self._fires + other._fires
        both.n_rows = self.n_rows + other.n_rows
        both.n_residues_C = self.n_residues_C + other.n_residues_C
        both.n_instances_C = self.n_instances_C + other.n_instances_C
        both.n_proteins_C = self.n_proteins_C + other.n_proteins_C
        return both

    @property
    def targets_C(self) -> Int64:
        """What recall is a share of: instances for spans, residues for sites."""
        return np.where(self.is_span_C, self.n_instances_C, self.n_residues_C)

    def fires_FT(self) -> Int64:
        """Return the number of residues on which each latent is above each threshold."""
        return _above(self._fires.reshape(self.n_latents, -1))

    def true_positives_CFT(self, concepts: slice = slice(None)) -> npt.NDArray[np.int32]:
        """Return the number of those residues that carry each concept."""
        return _above(self._true_positives[concepts].reshape(-1, *self._shape_FT))

    def found_CFT(self, concepts: slice = slice(None)) -> npt.NDArray[np.int32]:
        """Return the number of instances (spans) or residues (sites) found: recall × targets."""
        is_span = self.is_span_C[concepts, None]
        found = np.where(is_span, self._hits[concepts], self._true_positives[concepts])
        return _above(found.reshape(-1, *self._shape_FT))

    def true_positives_at(self, concept_Q: Int64, latent_Q: Int64, threshold_Q: Int64) -> Int64:
        """Return the true positives of given (concept, latent, threshold index) triples."""
        return self._at(self._true_positives, concept_Q, latent_Q, threshold_Q)

    def found_at(self, concept_Q: Int64, latent_Q: Int64, threshold_Q: Int64) -> Int64:
        """Return what :meth:`found_CFT` holds for given triples."""
        hits = self._at(self._hits, concept_Q, latent_Q, threshold_Q)
        residues = self._at(self._true_positives, concept_Q, latent_Q, threshold_Q)
        return np.where(self.is_span_C[concept_Q], hits, residues)

    def _at(
        self, by_bin: npt.NDArray[np.int32], concept: Int64, latent: Int64, threshold: Int64
    ) -> Int64:
        n_bins = len(self.thresholds_T)
        bins = by_bin.reshape(-1, *self._shape_FT)[concept, latent]
        above: Int64 = np.where(np.arange(n_bins) >= threshold[:, None], bins, 0).sum(axis=1)
        return above

    @property
    def _shape_FT(self) -> tuple[int, int]:
        return self.n_latents, len(self.thresholds_T)


def concept_blocks(
    n_concepts: int, n_latents: int, n_thresholds: int, *, n_counts: int, room: int = ROOM
) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Cut the concepts into blocks of which `n_counts` :class:`Counts` fit into `room` bytes.

    Yields
    ------
    first : int
        The first concept of the block.
    here : ndarray of bool, shape=(C,)
        Which concepts are in it, for :meth:`ResidueLabels.keep_concepts`; one at least.
    """
    step = max(1, room // (n_counts * 8 * n_latents * n_thresholds))
    for first in range(0, n_concepts, step):
        here = np.zeros(n_concepts, dtype=bool)
        here[first : first + step] = True
        yield first, here


def associate(
    latents: Sequence[csr_array],
    labels: ResidueLabels,
    max_activation_F: npt.ArrayLike,
    *,
    thresholds: Sequence[float] = INTERPLM_THRESHOLDS,
    max_entries: int = 4_000_000,
) -> Counts:
    """Count all thresholds × concepts × latents over some proteins.

    Parameters
    ----------
    latents : sequence of csr_array, shape=(length, F)
        One array of raw activations a protein, in the order of the labels.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent, from a reference set
        (:func:`plmsae.concepts.latents.max_activations`).
    thresholds : sequence of float
        Ascending shares of a latent's maximum.
    max_entries : int
        Active latents handled at a time; bounds the memory.

    Returns
    -------
    Counts
    """
    counts = Counts(labels, same_width(latents), thresholds)
    if len(latents) != len(labels.accessions):
        raise InputError(f"latents of {len(latents)} proteins, labels of {len(labels.accessions)}")
    for first, last in chunks_of_proteins(latents, max_entries):
        chunk = stack_rows(latents[first:last], counts.n_latents)
        counts.add(scale(chunk, max_activation_F), labels.chunk(first, last))
    return counts


def _above_lowest(
    scaled: csr_array, thresholds_T: Float32
) -> tuple[csr_array, npt.NDArray[np.int8]]:
    """Drop the entries that pass no threshold; return the rest and their bins."""
    bins = threshold_bins(scaled.data, thresholds_T)
    kept = bins >= 0
    return _keep(scaled, kept), bins[kept]


def _keep(array: csr_array, kept: npt.NDArray[np.bool_]) -> csr_array:
    """Return `array` with only the entries where `kept` is true."""
    if kept.all():
        return array
    total = np.concatenate([[0], np.cumsum(kept)])
    indptr = total[array.indptr].astype(array.indptr.dtype)
    return csr_array((array.data[kept], array.indices[kept], indptr), shape=array.shape)


def _span_hits(
    fired: csr_array,
    bins: npt.NDArray[np.int8],
    n_bins: int,
    labels: ResidueLabels,
    instances: Int64,
) -> csr_array:
    """Return, per concept, the instances whose highest bin is each bin: shape (C, F·T)."""
    n_latents = fired.shape[1]
    shape = (labels.n_concepts, n_latents * n_bins)
    if not len(instances) or not fired.nnz:
        return csr_array(shape, dtype=np.int32)
    start, end = labels.start_I[instances], labels.end_I[instances]
    rows = expand(start, end)
    indptr = np.concatenate([[0], np.cumsum(end - start)])
    ones = np.ones(len(rows), dtype=np.int64)
    members = csr_array((ones, rows, indptr), shape=(len(instances), labels.n_rows))
    highest = _highest_bin(members, fired, bins, n_bins, int((end - start).max()))
    column = highest.indices.astype(np.int32) * np.int32(n_bins) + highest.data
    one_hot = csr_array(
        (np.ones(len(column), dtype=np.int32), column, highest.indptr),
        shape=(len(instances), shape[1]),
    )
    concept_of = csr_array(
        (np.ones(len(instances), dtype=np.int32), (labels.concept_I[instances], range(len(start)))),
        shape=(labels.n_concepts, len(instances)),
    )
    return concept_of @ one_hot


def _highest_bin(
    members: csr_array, fired: csr_array, bins: npt.NDArray[np.int8], n_bins: int, longest: int
) -> csr_array:
    """Return the highest bin of each (instance, latent) that fires: int8 data, shape (I, F).

    An int64 holds ``63 // w`` digits of w bits; more bins than that are taken in groups.
    """
    width = longest.bit_length()
    digits = max(63 // width, 1)
    best = csr_array((members.shape[0], fired.shape[1]), dtype=np.int8)
    for lowest in range(0, n_bins, digits):
        group = np.arange(lowest, min(lowest + digits, n_bins))
        inside = (bins >= group[0]) & (bins <= group[-1])
        entries = _keep(fired, inside)
        weight = np.left_shift(np.int64(1), width * (bins[inside].astype(np.int64) - lowest))
        summed = members @ csr_array((weight, entries.indices, entries.indptr), shape=entries.shape)
        steps = np.left_shift(np.int64(1), width * (group - lowest))
        # One more than the bin, so that "none" can stay an absent entry while groups are merged.
        summed.data = (np.searchsorted(steps, summed.data, side="right") + lowest).astype(np.int8)
        best = summed if lowest == 0 else csr_array(best.maximum(summed))
    best.data = (best.data - 1).astype(np.int8)
    return best


def _add_into(table: npt.NDArray[np.int32], sparse: csr_array) -> None:
    """Add a sparse array with unique entries to a dense C-contiguous one of the same shape."""
    rows = np.repeat(np.arange(sparse.shape[0]), np.diff(sparse.indptr))
    table.reshape(-1)[rows * np.int64(sparse.shape[1]) + sparse.indices] += sparse.data


def _above(by_bin: npt.NDArray[Integer]) -> npt.NDArray[Integer]:
    """Turn counts by bin (last axis) into counts above each threshold."""
    above = by_bin.copy()
    for index in range(by_bin.shape[-1] - 2, -1, -1):
        above[..., index] += above[..., index + 1]
    return above
