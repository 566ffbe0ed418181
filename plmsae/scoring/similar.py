"""Which annotated proteins are most like one that lacks a label: the evidence beside a proposal."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

_WORD = 4
_LETTERS = 26
_CHUNK = 4_096  # queries compared at once


class Witnesses:
    """Annotated proteins on which a latent fired where the label is, by concept and latent.

    Of each pair only the strongest are kept, so that memory follows the number of concepts.

    Parameters
    ----------
    sequences : mapping of str to str
        Accession to sequence, upper-case letters.
    per_pair : int
        How many to keep.
    """

    def __init__(self, sequences: Mapping[str, str], *, per_pair: int = 100) -> None:
        self._sequences = sequences
        self._per_pair = per_pair
        self._scores: defaultdict[tuple[str, int], dict[str, float]] = defaultdict(dict)

    def add(self, concept: str, latents: Iterable[int], accession: str, score: float) -> None:
        """Note that `latents` fired with `score` on a label of `concept` in `accession`."""
        for latent in latents:
            found = self._scores[concept, latent]
            found[accession] = max(score, found.get(accession, 0.0))
            if len(found) > 2 * self._per_pair:
                self._scores[concept, latent] = dict(self._best(found))

    def closest(
        self, concept: str, latents: Iterable[int], accessions: Sequence[str], *, n: int = 3
    ) -> list[list[str]]:
        """Return for each accession up to `n` witnesses, most similar first, never itself.

        Similarity is the Jaccard index of the sets of 4-letter words of the whole sequences; ties
        go to the stronger activation.
        """
        best: dict[str, float] = {}
        for latent in latents:
            for other, score in self._best(self._scores.get((concept, latent), {})):
                best[other] = max(score, best.get(other, 0.0))
        candidates = sorted(best, key=lambda other: (-best[other], other))
        if not candidates:
            return [[] for _ in accessions]
        column_of = {other: column for column, other in enumerate(candidates)}
        words_C = self._words(candidates)
        found = []
        for first in range(0, len(accessions), _CHUNK):
            queries = accessions[first : first + _CHUNK]
            similarity_QC = _jaccard(self._words(queries), words_C)
            for accession, similarity_C in zip(queries, similarity_QC, strict=True):
                # Stable, so that equally similar ones stay in the order of their activation.
                order = np.argsort(-similarity_C, kind="stable")[: n + 1]
                ranked = [candidates[c] for c in order if c != column_of.get(accession)]
                found.append(ranked[:n])
        return found

    def _best(self, found: Mapping[str, float]) -> list[tuple[str, float]]:
        # By score, then accession: never by the order in which they came.
        return heapq.nsmallest(self._per_pair, found.items(), key=lambda item: (-item[1], item[0]))

    def _words(self, accessions: Sequence[str]) -> csr_array:
        """Return which words each protein holds: (proteins, words), 1 or absent."""
        from scipy.sparse import csr_array

        rows = [_word_codes(self._sequences[accession]) for accession in accessions]
        indptr = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=indptr[1:])
        indices = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
        shape = (len(rows), _LETTERS**_WORD)
        return csr_array((np.ones(len(indices), dtype=np.int32), indices, indptr), shape=shape)


def _word_codes(sequence: str) -> NDArray[np.int64]:
    letters = np.frombuffer(sequence.encode("ascii"), dtype=np.uint8).astype(np.int64) - ord("A")
    n = max(0, len(letters) - _WORD + 1)
    codes = np.zeros(n, dtype=np.int64)
    for i in range(_WORD):
        codes = codes * _LETTERS + letters[i : i + n]
    return np.unique(codes)


def _jaccard(words_Q: csr_array, words_C: csr_array) -> NDArray[np.float64]:
    """Return shared / united words of every query with every candidate: (Q, C)."""
    shared_QC = (words_Q @ words_C.T).toarray()
    size_Q, size_C = np.diff(words_Q.indptr), np.diff(words_C.indptr)
    united_QC = size_Q[:, None] + size_C[None, :] - shared_QC
    jaccard_QC: NDArray[np.float64] = shared_QC / np.maximum(united_QC, 1)
    return jaccard_QC
