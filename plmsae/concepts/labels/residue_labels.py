"""Labels in row space: which rows of a stack of proteins carry which concept.

A label table uses accessions and 1-based inclusive positions. The arrays of activations
have one row per residue, proteins under one another. :class:`ResidueLabels` is the table in those
rows, 0-based and half-open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.latents import Int64, expand
from plmsae.core.errors import InputError

LABEL_COLUMNS = ("accession", "start", "end", "concept", "kind")
KINDS = ("site", "span")


@dataclass(frozen=True, kw_only=True)
class ResidueLabels:
    """Instances of concepts on the rows of a stack of proteins.

    Overlapping instances of one concept stay apart, because recall counts instances; the residue
    mask is their union, because precision counts residues.
    """

    concepts: tuple[str, ...]
    """Names, sorted; their positions are the concept ids."""
    is_span_C: npt.NDArray[np.bool_]
    """True for a span (recall per instance), False for a site (recall per residue)."""
    accessions: tuple[str, ...]
    """Proteins, in row order."""
    offsets_P1: Int64
    """Shape (P + 1,): protein p has the rows ``offsets_P1[p]:offsets_P1[p + 1]``."""
    concept_I: Int64
    """Concept id of each instance."""
    start_I: Int64
    """First row of each instance; ascending."""
    end_I: Int64
    """One past its last row."""
    unmatched: tuple[str, ...] = ()
    """Accessions of the table that are not among the proteins."""

    @property
    def n_rows(self) -> int:
        """Number of residues in the stack."""
        return int(self.offsets_P1[-1])

    @property
    def n_concepts(self) -> int:
        """C."""
        return len(self.concepts)

    @property
    def n_instances(self) -> int:
        """I."""
        return len(self.concept_I)

    @property
    def kinds(self) -> list[str]:
        """``site`` or ``span``, one per concept."""
        return [KINDS[int(span)] for span in self.is_span_C]

    @property
    def protein_I(self) -> Int64:
        """Protein index of each instance."""
        found = np.searchsorted(self.offsets_P1, self.start_I, side="right") - 1
        return found.astype(np.int64)

    @property
    def protein_N(self) -> Int64:
        """Protein index of each row."""
        lengths = np.diff(self.offsets_P1)
        return np.repeat(np.arange(len(lengths)), lengths)

    def merged(self) -> tuple[Int64, Int64, Int64]:
        """Return concept, start and end of the union of each concept's instances, by concept.

        Instances that overlap become one stretch; a stretch never leaves its protein.
        """
        # Concepts are laid end to end on one long line: one running maximum merges them all.
        line = self.concept_I * (self.n_rows + 1)
        order = np.argsort(line + self.start_I, kind="stable")
        start, end = (line + self.start_I)[order], (line + self.end_I)[order]
        if not len(start):
            return self.concept_I, self.start_I, self.end_I
        reach = np.maximum.accumulate(end)
        first = np.flatnonzero(np.concatenate([[True], start[1:] >= reach[:-1]]))
        concept = self.concept_I[order][first]
        shift = concept * (self.n_rows + 1)
        last = np.append(first[1:], len(start)) - 1
        return concept, start[first] - shift, reach[last] - shift

    def mask_CN(self) -> csr_array:
        """Return which rows carry which concept: int32 ones, shape (C, N), sorted indices."""
        concept, start, end = self.merged()
        per_concept = np.bincount(concept, weights=end - start, minlength=self.n_concepts)
        indptr = np.concatenate([[0], np.cumsum(per_concept)]).astype(np.int64)
        rows = expand(start, end)
        ones = np.ones(len(rows), dtype=np.int32)
        return csr_array((ones, rows, indptr), shape=(self.n_concepts, self.n_rows))

    def residues_C(self) -> Int64:
        """Return the number of labelled residues (of the union) of each concept."""
        concept, start, end = self.merged()
        count = np.bincount(concept, weights=end - start, minlength=self.n_concepts)
        return count.astype(np.int64)

    def instances_C(self) -> Int64:
        """Return the number of instances of each concept."""
        return np.bincount(self.concept_I, minlength=self.n_concepts).astype(np.int64)

    def proteins_C(self) -> Int64:
        """Return the number of proteins that carry each concept."""
        pairs = np.unique(self.concept_I * len(self.offsets_P1) + self.protein_I)
        count = np.bincount(pairs // len(self.offsets_P1), minlength=self.n_concepts)
        return count.astype(np.int64)

    def chunk(self, first: int, last: int) -> ResidueLabels:
        """Return the labels of the proteins ``first:last``, rows counted from the first of them."""
        base, stop = self.offsets_P1[first], self.offsets_P1[last]
        low, high = np.searchsorted(self.start_I, [base, stop])
        return self._replaced(
            self.accessions[first:last],
            self.offsets_P1[first : last + 1] - base,
            self.concept_I[low:high],
            self.start_I[low:high] - base,
            self.end_I[low:high] - base,
        )

    def take(self, proteins: npt.ArrayLike) -> ResidueLabels:
        """Return the labels of the given protein indices, stacked in that order (no repeats)."""
        index = np.asarray(proteins, dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(np.diff(self.offsets_P1)[index])])
        shift = np.zeros(len(self.accessions), dtype=np.int64)
        shift[index] = offsets[:-1] - self.offsets_P1[index]
        chosen = np.zeros(len(self.accessions), dtype=bool)
        chosen[index] = True
        protein = self.protein_I
        keep = np.flatnonzero(chosen[protein])
        start = self.start_I[keep] + shift[protein[keep]]
        order = np.argsort(start, kind="stable")
        keep, start = keep[order], start[order]
        end = self.end_I[keep] + shift[protein[keep]]
        names = tuple(self.accessions[i] for i in index)
        return self._replaced(names, offsets, self.concept_I[keep], start, end)

    def keep_concepts(self, kept_C: npt.NDArray[np.bool_]) -> ResidueLabels:
        """Return the labels of the concepts where `kept_C` is true, renumbered."""
        new_id = np.cumsum(kept_C) - 1
        keep = kept_C[self.concept_I]
        return ResidueLabels(
            concepts=tuple(name for name, kept in zip(self.concepts, kept_C, strict=True) if kept),
            is_span_C=self.is_span_C[kept_C],
            accessions=self.accessions,
            offsets_P1=self.offsets_P1,
            concept_I=new_id[self.concept_I[keep]],
            start_I=self.start_I[keep],
            end_I=self.end_I[keep],
            unmatched=self.unmatched,
        )

    def _replaced(
        self, accessions: tuple[str, ...], offsets: Int64, concept: Int64, start: Int64, end: Int64
    ) -> ResidueLabels:
        return ResidueLabels(
            concepts=self.concepts,
            is_span_C=self.is_span_C,
            accessions=accessions,
            offsets_P1=offsets,
            concept_I=concept,
            start_I=start,
            end_I=end,
        )


def build_residue_labels(
    label_table: pl.DataFrame, accessions: Sequence[str], lengths: Sequence[int] | Int64
) -> ResidueLabels:
    """Lay a label table over a stack of proteins.

    Parameters
    ----------
    label_table : polars.DataFrame
        Columns ``accession``, ``start``, ``end`` (1-based, inclusive), ``concept``, ``kind``
        (``site`` or ``span``). A row that is there twice counts once.
    accessions : sequence of str
        The proteins, in row order.
    lengths : sequence of int
        Residues of each, as many as it has rows of activations.

    Returns
    -------
    ResidueLabels
        Every concept of the table, also those that none of these proteins carries. Labels of other
        proteins are left out, their accessions listed in ``unmatched``.

    Raises
    ------
    InputError
        If a column is missing, an accession is listed twice, no label fits any protein, a position
        lies outside its protein, or a concept is a site here and a span there.
    """
    missing = [name for name in LABEL_COLUMNS if name not in label_table.columns]
    if missing:
        raise InputError(
            f"the label table lacks the column {missing[0]}", value=", ".join(label_table.columns)
        )
    if len(accessions) != len(lengths):
        raise InputError(f"{len(accessions)} accessions but {len(lengths)} lengths")
    length_P = np.asarray(lengths, dtype=np.int64)
    index = pl.DataFrame(
        {"accession": list(accessions), "protein": np.arange(len(length_P)), "length": length_P},
        schema={"accession": pl.String, "protein": pl.Int64, "length": pl.Int64},
    )
    twice = index.filter(index["accession"].is_duplicated())
    if twice.height:
        raise InputError("a protein is listed twice", record=twice["accession"][0])
    table = label_table.select(LABEL_COLUMNS).unique(maintain_order=True)
    kind_of = _one_kind_each(table)
    joined = table.join(index, on="accession", how="left", maintain_order="left")
    unmatched = joined.filter(pl.col("protein").is_null())["accession"].unique().sort()
    joined = joined.filter(pl.col("protein").is_not_null())
    if table.height and not joined.height:
        raise InputError(
            "no label belongs to any of the proteins",
            value=str(unmatched[0]),
            hint="are the accessions of the label table and of the proteins of one kind?",
        )
    _refuse_positions_outside(joined)
    concepts = kind_of["concept"]
    offsets = np.concatenate([[0], np.cumsum(length_P)]).astype(np.int64)
    concept = ids_of(joined["concept"], concepts.to_list())
    base = offsets[joined["protein"].to_numpy()]
    start = base + joined["start"].cast(pl.Int64).to_numpy() - 1
    end = base + joined["end"].cast(pl.Int64).to_numpy()
    order = np.lexsort((concept, end, start))
    return ResidueLabels(
        concepts=tuple(concepts.to_list()),
        is_span_C=(kind_of["kind"] == "span").to_numpy().copy(),
        accessions=tuple(accessions),
        offsets_P1=offsets,
        concept_I=concept[order],
        start_I=start[order],
        end_I=end[order],
        unmatched=tuple(unmatched.to_list()),
    )


def ids_of(names: pl.Series, concepts: Sequence[str]) -> Int64:
    """Return the position of each name in `concepts`.

    Raises
    ------
    InputError
        If a name is not among them.
    """
    ids = pl.DataFrame(
        {"concept": list(concepts), "id": np.arange(len(concepts))},
        schema={"concept": pl.String, "id": pl.Int64},
    )
    found = names.to_frame("concept").join(ids, on="concept", how="left", maintain_order="left")
    unknown = found.filter(pl.col("id").is_null())
    if unknown.height:
        raise InputError("a concept is not among those labelled", value=str(unknown["concept"][0]))
    return found["id"].to_numpy().astype(np.int64)


def _one_kind_each(table: pl.DataFrame) -> pl.DataFrame:
    kinds = table.select("concept", "kind").unique().sort("concept", "kind")
    strange = kinds.filter(~pl.col("kind").is_in(KINDS) | pl.col("kind").is_null())
    if strange.height:
        raise InputError(
            "the kind of a concept must be site or span",
            record=strange["concept"][0],
            value=str(strange["kind"][0]),
        )
    both = kinds.filter(kinds["concept"].is_duplicated())
    if both.height:
        raise InputError(
            "a concept is a site in one row and a span in another", record=both["concept"][0]
        )
    return kinds


def _refuse_positions_outside(joined: pl.DataFrame) -> None:
    fits = (
        (pl.col("start") >= 1)
        & (pl.col("start") <= pl.col("end"))
        & (pl.col("end") <= pl.col("length"))
    )
    wrong = joined.filter(~fits.fill_null(value=False))
    if wrong.height:
        row = wrong.row(0, named=True)
        raise InputError(
            f"label {row['concept']!r} lies outside the protein of {row['length']} residues",
            record=row["accession"],
            value=f"{row['start']}..{row['end']}",
            hint="were the labels made for another version of the sequence?",
        )
