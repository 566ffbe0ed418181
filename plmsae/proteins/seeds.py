"""Which proteins may be homologous: seeds and ungapped segments, the first stage of a search.

The plan is that of BLAST (Altschul et al. 1990, J Mol Biol 215:403), in numpy:

1. stretches of low complexity are masked (window entropy, as in the first pass of SEG);
2. every position gives a spaced seed over ten amino-acid classes (Murphy et al. 2000, Protein Eng
   13:149), which keeps matching where residues have been replaced by similar ones;
3. where two proteins share a seed, the best ungapped segment (BLOSUM62) in a window around it must
   reach a score that chance rarely reaches.

What passes is a candidate and not a finding: `plmsae.proteins.homology` aligns the candidates.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from plmsae.proteins.blosum import BLOSUM62, LETTERS, score_for

Ints = NDArray[np.int64]

_CLASSES = ("LVIM", "C", "A", "G", "ST", "P", "FYW", "EDNQ", "KR", "H")
UNKNOWN = len(LETTERS)
"""Code of a masked or ambiguous residue."""
_WALL = 31  # code of what stands between two proteins: no segment crosses it
_MASK_WINDOW, _MASK_BITS = 12, 1.9  # window of SEG (Wootton & Federhen 1993), a milder cut
_SEEDS = ((0, 2, 3, 6, 7, 8, 10, 11), (0, 1, 2, 5, 8, 10, 11, 13), (0, 1, 2, 3, 4, 5, 8, 9))
# Places of the seeds, spaced and not; of each the first 6 to 8 are used.
_CHANCE = 100.0  # chance segments for a query that would be let through if every place were a seed
_LEFT, _WINDOW = 20, 50  # residues before a seed at which its window begins; residues in it
_CORE, _IDENTICAL = 12, 5  # of so many residues from a seed's first on, so many must be identical
_HITS = 1 << 20  # seed hits held at once


class PackedProteins:
    """Sequences in one array of codes, with walls between neighbours.

    Parameters
    ----------
    sequences : sequence of str
        Upper-case amino-acid letters.

    Attributes
    ----------
    codes : ndarray of uint8
        Codes in the order of `plmsae.proteins.blosum.LETTERS`; `UNKNOWN` where a residue is
        ambiguous or of low complexity.
    lengths, starts : ndarray of int64, shape (P,)
        Residues of each protein, and the place in `codes` of its first.
    """

    def __init__(self, sequences: Sequence[str]) -> None:
        table = np.full(256, UNKNOWN, np.uint8)
        for code, letter in enumerate(LETTERS):
            table[ord(letter)] = code
        wall = "-" * _WINDOW
        text = (wall + wall.join(sequences) + wall).encode("ascii", "replace")
        letters = np.frombuffer(text, np.uint8)
        self.codes = mask_low_complexity(table[letters])
        self.codes[letters == ord("-")] = _WALL
        self.lengths: Ints = np.fromiter(map(len, sequences), np.int64, len(sequences))
        self.starts: Ints = np.cumsum(self.lengths + _WINDOW) - self.lengths


def mask_low_complexity(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return `codes` with every window of low entropy set to `UNKNOWN`."""
    if len(codes) < _MASK_WINDOW:
        return codes
    # Entropy of a window = log2(w) − Σ c log2(c) / w over the counts c of its letters.
    gain = np.zeros(_MASK_WINDOW + 1)
    gain[2:] = [c * np.log2(c) / _MASK_WINDOW for c in range(2, _MASK_WINDOW + 1)]
    gain = gain.astype(np.float32)
    total = np.zeros(len(codes) - _MASK_WINDOW + 1, np.float32)
    for code in range(UNKNOWN):  # unknowns never repeat: what is beside a wall is not masked
        seen = np.zeros(len(codes) + 1, np.int32)
        np.cumsum(codes == code, out=seen[1:])
        total += gain[seen[_MASK_WINDOW:] - seen[:-_MASK_WINDOW]]
    low = np.flatnonzero(total > np.log2(_MASK_WINDOW) - _MASK_BITS)
    cover = np.zeros(len(codes) + 1, np.int32)
    np.add.at(cover, low, 1)
    np.add.at(cover, low + _MASK_WINDOW, -1)
    masked = codes.copy()
    masked[np.cumsum(cover[:-1]) > 0] = UNKNOWN
    return masked


def candidate_pairs(packed: PackedProteins, queries: int | None = None) -> tuple[Ints, Ints]:
    """Return the pairs of proteins that share a seed in an ungapped segment of some score.

    Parameters
    ----------
    queries : int, optional
        Keep only pairs of one of the first `queries` proteins with one of the rest.

    Returns
    -------
    first, second : ndarray of int64, shape (n_pairs,)
        ``first < second``; each pair once, sorted.
    """
    n = len(packed.lengths)
    residues = int(packed.lengths.sum())
    # The score that `_CHANCE` segments reach by chance, for a query of each length.
    needed_P = np.array(
        [score_for(_CHANCE, query=int(m), database=residues) for m in packed.lengths], np.int16
    )
    cores = _cores(packed.codes)
    found = [np.zeros(0, np.int64)]
    hits = itertools.chain.from_iterable(_hits(packed, queries, places) for places in _SEEDS)
    for at_a, at_b, first, second in hits:
        longer = np.maximum(needed_P[first], needed_P[second])
        good = np.flatnonzero(_identical(cores[at_a], cores[at_b]) >= _IDENTICAL)
        near = _score(packed.codes, at_a[good], at_b[good])
        good = good[near >= longer[good]]
        a, b = first[good], second[good]
        found.append(np.unique(np.minimum(a, b) * n + np.maximum(a, b)))
    pairs = np.unique(np.concatenate(found))
    return pairs // max(n, 1), pairs % max(n, 1)


def _hits(
    packed: PackedProteins, queries: int | None, places: tuple[int, ...]
) -> Iterator[tuple[Ints, Ints, Ints, Ints]]:
    """Yield the places (a, b) of equal seeds and their proteins, in blocks of about `_HITS`."""
    place, seed = _seeds(packed, places)
    order = np.argsort(seed, kind="stable")
    place, seed = place[order], seed[order]
    owner = np.searchsorted(packed.starts, place, "right") - 1
    # Of a group of equal seeds each is paired with all that stand behind it.
    partners = np.searchsorted(seed, seed, "right") - np.arange(len(seed)) - 1
    if queries is not None:  # places are in order within a group: stop at the last query
        partners[owner >= queries] = 0
    before = np.concatenate([[0], np.cumsum(partners)])
    begin = 0
    while begin < len(seed):
        # As many seeds as fit the budget, and at least one.
        end = int(np.searchsorted(before, before[begin] + _HITS, "right")) - 1
        end = max(end, begin + 1)
        count = partners[begin:end]
        a = np.repeat(np.arange(begin, end), count)
        b = a + 1 + np.arange(len(a)) - np.repeat(before[begin:end] - before[begin], count)
        keep = owner[b] >= queries if queries is not None else owner[a] != owner[b]
        a, b = a[keep], b[keep]
        begin = end
        yield place[a], place[b], owner[a], owner[b]


def _seeds(packed: PackedProteins, spaced: tuple[int, ...]) -> tuple[Ints, Ints]:
    """Return the places that start a whole seed, and the seed's number at each."""
    classes = np.full(256, 255, np.uint8)
    for number, letters in enumerate(_CLASSES):
        for letter in letters:
            classes[LETTERS.index(letter)] = number
    reduced = classes[packed.codes]
    # More residues need longer seeds, or chance hits outnumber the true ones.
    weight = 6 + sum(int(packed.lengths.sum()) > limit for limit in (8_000_000, 40_000_000))
    span = len(reduced) - max(spaced)
    seed = np.zeros(span, np.int64)
    whole = np.ones(span, bool)
    for place in spaced[:weight]:
        here = reduced[place : place + span]
        whole &= here != 255
        seed *= len(_CLASSES)
        seed += here
    places = np.flatnonzero(whole)
    return places, seed[places]


def _cores(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the codes of the `_CORE` residues from each place on, in five bits each."""
    core = np.zeros(len(codes), np.uint64)
    for column in range(_CORE):
        core[: len(codes) - column] |= codes[column:].astype(np.uint64) << np.uint64(5 * column)
    return core


def _identical(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return how many of the residues of two cores are the same."""
    differ = a ^ b
    for shift in (1, 2, 1):  # a group of five bits has its lowest bit set if any of them is
        differ |= differ >> np.uint64(shift)
    same: NDArray[np.uint8] = _CORE - np.bitwise_count(differ & _LOWEST)
    return same


def _score(codes: NDArray[np.uint8], at_a: Ints, at_b: Ints) -> NDArray[np.int16]:
    """Return the score of the best ungapped segment within each window (Kadane)."""
    score = np.zeros(len(at_a), np.int16)
    best = np.zeros(len(at_a), np.int16)
    for column in range(-_LEFT, _WINDOW - _LEFT):
        pair = codes[at_a + column].astype(np.int16) << 5
        pair |= codes[at_b + column]
        score += _SCORES[pair]
        np.maximum(score, 0, out=score)
        np.maximum(best, score, out=best)
    return best


_LOWEST = np.uint64(sum(1 << (5 * column) for column in range(_CORE)))
_SCORES_2D = np.full((32, 32), -1, np.int16)  # an unknown residue costs 1
_SCORES_2D[:UNKNOWN, :UNKNOWN] = BLOSUM62
_SCORES_2D[_WALL, :] = _SCORES_2D[:, _WALL] = -1000
_SCORES = _SCORES_2D.ravel()
