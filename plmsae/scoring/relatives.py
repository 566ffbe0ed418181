"""What homology alone says of a table's gaps: labels of relatives, carried over by alignment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from plmsae.concepts.baselines.label_transfer import carry_over
from plmsae.concepts.calling.distance import BINS, bin_of
from plmsae.concepts.calling.place_matching import right_calls
from plmsae.proteins.alignment import Alignment, align
from plmsae.proteins.search import Method, search

_PLACE = ["accession", "start", "end", "concept"]
_CARRIED = {
    "accession": pl.String,
    "start": pl.Int32,
    "end": pl.Int32,
    "concept": pl.String,
    "homologue": pl.String,
    "homologue_identity": pl.Float64,
    "rank": pl.Int32,
}
_MOST = 10
"""Relatives asked about a proposal, best hit first."""


class Relatives:
    """The homologues of proteins of a table among all its proteins.

    Parameters
    ----------
    proteins : polars.DataFrame
        ``accession``, ``sequence``.
    of : sequence of str, optional
        Accessions of the proteins whose homologues are searched; all by default.
    method : {"auto", "mmseqs", "diamond", "kmer"}
        As for `plmsae.proteins.search.search`.
    """

    def __init__(
        self, proteins: pl.DataFrame, *, of: Sequence[str] | None = None, method: Method = "auto"
    ) -> None:
        everyone = proteins["accession"].to_list()
        self._sequences = dict(proteins.select("accession", "sequence").iter_rows())
        self._asked = everyone if of is None else list(of)
        sequences = list(self._sequences.values())
        if of is None:
            hits = search(sequences, method=method)
            # Each pair stands once in the hits, and is a hit of both.
            query = np.concatenate([hits.query, hits.target])
            target = np.concatenate([hits.target, hits.query])
            identity, score = np.tile(hits.identity, 2), np.tile(hits.score, 2)
        else:
            hits = search([self._sequences[a] for a in self._asked], sequences, method=method)
            query, target, identity, score = hits.query, hits.target, hits.identity, hits.score
        self._of: defaultdict[str, list[tuple[str, float]]] = defaultdict(list)
        for at in np.lexsort((target, -identity, -score, query)):
            own, relative = self._asked[query[at]], everyone[target[at]]
            if own != relative:
                self._of[own].append((relative, float(identity[at])))

    def carried(self, labels: pl.DataFrame, *, n: int, whole: bool) -> pl.DataFrame:
        """Return the labels of the best `n` labelled relatives of each protein, carried over.

        Parameters
        ----------
        labels : polars.DataFrame
            ``accession``, ``start``, ``end`` (1-based inclusive), ``concept``.
        n : int
            Relatives of each, those with labels, best hit first.
        whole : bool
            Whether labels are of whole proteins: nothing is aligned.

        Returns
        -------
        polars.DataFrame
            ``accession``, ``start``, ``end``, ``concept``, ``homologue`` (its accession),
            ``homologue_identity`` (of the hit, in [0, 1]), ``rank`` (0 for the best hit).
        """
        labels_of: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for accession, start, end, concept in labels.select(_PLACE).iter_rows():
            labels_of[accession].append((start, end, concept))
        rows = []
        for accession in self._asked:
            labelled = [found for found in self._of[accession] if found[0] in labels_of][:n]
            sequence = self._sequences[accession]
            alignments: Sequence[Alignment | None] = [None] * len(labelled)
            if not whole:
                alignments = align(sequence, [self._sequences[name] for name, _ in labelled])
            for rank, ((name, identity), alignment) in enumerate(
                zip(labelled, alignments, strict=True)
            ):
                own = labels_of[name]
                places: Sequence[tuple[int, int] | None] = [(0, len(sequence))] * len(own)
                if alignment is not None:
                    places = carry_over(alignment, [(start - 1, end) for start, end, _ in own])
                rows += [
                    (accession, place[0] + 1, place[1], label[2], name, identity, rank)
                    for place, label in zip(places, own, strict=True)
                    if place is not None
                ]
        return pl.DataFrame(rows, schema=_CARRIED, orient="row")

    def nearest(self, labels: pl.DataFrame) -> dict[str, float]:
        """Return the identity of each protein's best labelled hit; 0 where there is none."""
        labelled = set(labels["accession"])
        return {
            accession: next((i for name, i in self._of[accession] if name in labelled), 0.0)
            for accession in self._asked
        }


def homology_support(
    proposals: pl.DataFrame, relatives: Relatives, labels: pl.DataFrame, *, whole: bool
) -> pl.DataFrame:
    """Say of each proposal which relative has the same label in the same place.

    Parameters
    ----------
    proposals : polars.DataFrame
        ``accession``, ``start``, ``end`` (1-based inclusive), ``concept``.
    relatives : Relatives
        Of the proposals' proteins.
    labels : polars.DataFrame
        What the table has.
    whole : bool
        Whether labels are of whole proteins.

    Returns
    -------
    polars.DataFrame
        As long as `proposals`: ``homologue``, the nearest of the ten best labelled hits whose
        label, carried over, would make the proposal right (`right_calls`), and
        ``homologue_identity``, the identity of that hit in [0, 1]; null where there is none.
    """
    carried = relatives.carried(labels, n=_MOST, whole=whole)
    names: list[str | None] = [None] * proposals.height
    identities: list[float | None] = [None] * proposals.height
    for rank in range(_MOST):
        group = carried.filter(pl.col("rank") == rank)
        open_rows = [at for at, name in enumerate(names) if name is None]
        relative_of = {
            accession: (name, identity)
            for accession, name, identity in group.select(
                "accession", "homologue", "homologue_identity"
            ).iter_rows()
        }
        right = right_calls(proposals[open_rows], group)
        for at in (row for row, agrees in zip(open_rows, right, strict=True) if agrees):
            names[at], identities[at] = relative_of[proposals["accession"][at]]
    return pl.DataFrame(
        {"homologue": names, "homologue_identity": identities},
        schema={name: _CARRIED[name] for name in ("homologue", "homologue_identity")},
    )


def bins_of(identity: Mapping[str, float]) -> dict[str, str]:
    """Return the bin of each protein's identity, as `plmsae.concepts.calling.distance` names it."""
    places = bin_of(list(identity.values()))
    return {accession: BINS[place] for accession, place in zip(identity, places, strict=True)}
