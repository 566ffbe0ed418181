"""Which annotated proteins are most like one that lacks a label: the evidence beside a proposal."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping

_WORD = 4


class Witnesses:
    """Annotated proteins on which a latent fired where the label is, by concept and latent.

    Of each pair only the strongest are kept, so that memory follows the number of concepts.

    Parameters
    ----------
    sequences : mapping of str to str
        Accession to sequence.
    per_pair : int
        How many to keep.
    """

    def __init__(self, sequences: Mapping[str, str], *, per_pair: int = 100) -> None:
        self._sequences = sequences
        self._per_pair = per_pair
        self._heaps: defaultdict[tuple[str, int], dict[str, float]] = defaultdict(dict)

    def add(self, concept: str, latents: Iterable[int], accession: str, score: float) -> None:
        """Note that `latents` fired with `score` on a label of `concept` in `accession`."""
        for latent in latents:
            found = self._heaps[concept, latent]
            found[accession] = max(score, found.get(accession, 0.0))
            if len(found) > 2 * self._per_pair:
                self._heaps[concept, latent] = dict(self._best(found))

    def _best(self, found: Mapping[str, float]) -> list[tuple[str, float]]:
        # By score, then accession: never by the order in which they came.
        return heapq.nsmallest(self._per_pair, found.items(), key=lambda item: (-item[1], item[0]))

    def closest(
        self, concept: str, latents: Iterable[int], accession: str, *, n: int = 3
    ) -> list[str]:
        """Return up to `n` accessions most similar to `accession`, most similar first.

        Similarity is the share of 4-letter words in common (Jaccard) of the whole sequences; ties
        go to the stronger activation.
        """
        candidates: dict[str, float] = {}
        for latent in latents:
            for other, score in self._best(self._heaps.get((concept, latent), {})):
                candidates[other] = max(score, candidates.get(other, 0.0))
        candidates.pop(accession, None)
        mine = _words(self._sequences[accession])
        ranked = sorted(
            candidates,
            key=lambda other: (-_jaccard(mine, self._sequences[other]), -candidates[other], other),
        )
        return ranked[:n]


def _words(sequence: str) -> frozenset[str]:
    return frozenset(sequence[i : i + _WORD] for i in range(len(sequence) - _WORD + 1))


def _jaccard(mine: frozenset[str], other: str) -> float:
    theirs = _words(other)
    shared = len(mine & theirs)
    return shared / (len(mine) + len(theirs) - shared) if shared else 0.0
