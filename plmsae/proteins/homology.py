"""The built-in homology search: seeds, then Smith–Waterman alignments of what they suggest.

Of the pairs that an exhaustive search calls homologous (at least 30 % identity over half of both
proteins) the seeds of `plmsae.proteins.seeds` suggest about 96 %; what is suggested is aligned in
full, so that E-value, identity and coverage are those of an optimal alignment. The result depends
on the sequences alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plmsae.proteins.alignment import align, scores
from plmsae.proteins.blosum import GAPPED_K, GAPPED_LAMBDA, expected_hits
from plmsae.proteins.hits import Hits, hits_of
from plmsae.proteins.seeds import PackedProteins, candidate_pairs

Ints = NDArray[np.int64]


def search_built_in(
    queries: Sequence[str], targets: Sequence[str] | None = None, *, evalue: float = 1e-3
) -> Hits:
    """Find homologues by seeds and Smith–Waterman alignments.

    Parameters
    ----------
    queries, targets : sequence of str
        Upper-case amino-acid letters. Without targets the queries are searched in themselves, each
        pair once.

    Notes
    -----
    A score is lessened by what the reversed query scores beyond chance, or two proteins that are
    rich in the same amino acid would be homologues.
    """
    n_queries = None if targets is None else len(queries)
    sequences = [*queries, *(targets or ())]
    packed = PackedProteins(sequences)
    first, second = candidate_pairs(packed, n_queries)
    database = int(packed.lengths[n_queries or 0 :].sum())
    own, starts = np.unique(first, return_index=True)
    rows = [
        align_pairs(sequences, int(query), partners, database, evalue)
        for query, partners in zip(own, np.split(second, starts[1:]), strict=False)
    ]
    found = hits_of(np.concatenate([np.zeros((0, 7)), *rows]))
    if n_queries is not None:
        found.target[:] -= n_queries
    return found


def align_pairs(
    sequences: Sequence[str], query: int, partners: Ints, database: int, evalue: float
) -> NDArray[np.float64]:
    """Align one protein with others, and keep what is significant.

    Parameters
    ----------
    sequences : sequence of str
        Upper-case amino-acid letters.
    partners : ndarray of int64, shape (n_partners,)
        Indices of the others.
    database : int
        Residues that were searched.

    Returns
    -------
    ndarray of float64, shape (n_hits, 7)
        Rows for `plmsae.proteins.hits.hits_of`.
    """
    text, others = sequences[query], [sequences[partner] for partner in partners]
    score = scores(text, others)
    promising = np.flatnonzero(_expected(text, score, database) <= evalue)
    others, partners = [others[at] for at in promising], partners[promising]
    lengths = np.fromiter(map(len, others), np.int64, len(others))
    score = score[promising] - _by_composition(text, others, lengths)
    expected = _expected(text, score, database)
    good = np.flatnonzero(expected <= evalue)
    rows = np.zeros((len(good), 7))
    alignments = align(text, [others[at] for at in good])
    for row, at, found in zip(rows, good, alignments, strict=True):
        (a, b), (c, d) = found.query_span, found.target_span
        coverage = (b - a) / len(text), (d - c) / lengths[at]
        row[:] = (query, partners[at], found.identity, *coverage, expected[at], score[at])
    return rows


def _expected(query: str, score: Ints, database: int) -> NDArray[np.float64]:
    return expected_hits(score, query=np.full(len(score), len(query)), database=database)


def _by_composition(query: str, targets: Sequence[str], lengths: Ints) -> Ints:
    """Return how much of each score is owed to composition.

    A reversed sequence has no homologues, but the composition, the periodicity and the low
    complexity of the protein: what it scores beyond chance, the protein owes to these (the
    reverse-sequence null model of Karplus et al. 1998, Bioinformatics 14:846).
    """
    by_chance = np.log(GAPPED_K * max(len(query), 1) * np.maximum(lengths, 1)) / GAPPED_LAMBDA
    excess = scores(query[::-1], targets) - np.maximum(by_chance, 0)
    return np.ceil(np.maximum(excess, 0)).astype(np.int64)
