"""What a homology search finds, whichever program searched."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Significant local alignments; all arrays have shape (n_hits,).

    Attributes
    ----------
    query, target : ndarray of int64
        Indices into the sequences that were searched with, and in. A search of a set in itself
        gives each pair once, ``query < target``.
    identity : ndarray of float64
        Identical residues / columns of the alignment (gaps included), in [0, 1].
    query_coverage, target_coverage : ndarray of float64
        Share of the protein between the first and the last aligned residue, in [0, 1].
    evalue : ndarray of float64
        Chance alignments of at least that score expected for the query in the whole search.
    score : ndarray of float64
        The larger, the better: raw score of the built-in search, bits of MMseqs2 and DIAMOND.
    """

    query: Ints
    target: Ints
    identity: Floats
    query_coverage: Floats
    target_coverage: Floats
    evalue: Floats
    score: Floats

    def __len__(self) -> int:
        """Return the number of hits."""
        return len(self.query)

    @property
    def coverage(self) -> Floats:
        """Share of the protein of the pair that is covered less."""
        return np.minimum(self.query_coverage, self.target_coverage)

    def take(self, chosen: NDArray[np.bool_] | Ints) -> Hits:
        """Return some of the hits."""
        return Hits(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def best(self) -> Hits:
        """Return the best hit of each query: highest score, then identity, then first target."""
        order = np.lexsort((self.target, -self.identity, -self.score, self.query))
        return self.take(order[np.unique(self.query[order], return_index=True)[1]])


def hits_of(rows: NDArray[np.float64]) -> Hits:
    """Return hits from rows of ``query, target, identity, … , score``, shape (n_hits, 7)."""
    columns = np.asarray(rows, np.float64).reshape(-1, 7).T
    return Hits(
        query=columns[0].astype(np.int64),
        target=columns[1].astype(np.int64),
        identity=columns[2].copy(),
        query_coverage=columns[3].copy(),
        target_coverage=columns[4].copy(),
        evalue=columns[5].copy(),
        score=columns[6].copy(),
    )
