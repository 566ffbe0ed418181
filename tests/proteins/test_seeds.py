"""The first stage of the built-in search."""

from __future__ import annotations

import math
import random

import numpy as np

from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.proteins.blosum import BLOSUM62, LETTERS
from plmsae.proteins.seeds import PackedProteins, candidate_pairs, mask_low_complexity


def protein(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(AMINO_ACIDS, k=length))


def mutated(rng: random.Random, sequence: str, identity: float) -> str:
    return "".join(
        letter if rng.random() < identity else rng.choice(AMINO_ACIDS.replace(letter, ""))
        for letter in sequence
    )


def test_masked_windows_are_those_of_low_entropy():
    rng = random.Random(9)
    text = protein(rng, 60) + "QQQQQQPQQQQPQQ" + protein(rng, 40) + "SP" * 7 + protein(rng, 30)
    codes = np.array([LETTERS.index(letter) for letter in text], np.uint8)
    expected = codes.copy()
    for at in range(len(text) - 11):
        window = text[at : at + 12]
        shares = [window.count(letter) / 12 for letter in set(window)]
        if -sum(share * math.log2(share) for share in shares) < 1.9:
            expected[at : at + 12] = len(LETTERS)
    assert (expected == len(LETTERS)).sum() > 20
    assert np.array_equal(mask_low_complexity(codes), expected)


def slow_pairs(sequences: list[str], needed: int) -> set[tuple[int, int]]:
    """Pairs with equal seeds, five of the next twelve residues equal, and a segment that scores."""
    classes = ["LVIM", "C", "A", "G", "ST", "P", "FYW", "EDNQ", "KR", "H"]
    of = {letter: number for number, letters in enumerate(classes) for letter in letters}
    seeds = [(0, 2, 3, 6, 7, 8), (0, 1, 2, 5, 8, 10), (0, 1, 2, 3, 4, 5)]
    found = set()
    for i, a in enumerate(sequences):
        for j in range(i + 1, len(sequences)):
            b = sequences[j]
            for x in range(len(a)):
                for y in range(len(b)):
                    if not any(
                        x + seed[-1] < len(a)
                        and y + seed[-1] < len(b)
                        and all(of[a[x + k]] == of[b[y + k]] for k in seed)
                        for seed in seeds
                    ):
                        continue
                    core = zip(a[x : x + 12], b[y : y + 12], strict=False)
                    if sum(p == q for p, q in core) < 5:
                        continue
                    score = best = 0
                    for k in range(-20, 30):
                        if not (0 <= x + k < len(a) and 0 <= y + k < len(b)):
                            score = 0
                            continue
                        pair = LETTERS.index(a[x + k]), LETTERS.index(b[y + k])
                        score = max(0, score + int(BLOSUM62[pair]))
                        best = max(best, score)
                    if best >= needed:
                        found.add((i, j))
    return found


def test_candidates_equal_a_slow_search(monkeypatch):
    monkeypatch.setattr("plmsae.proteins.seeds.mask_low_complexity", lambda codes: codes)
    monkeypatch.setattr("plmsae.proteins.seeds.score_for", lambda *_, **__: 40)
    rng = random.Random(1)
    sequences = []
    for _ in range(5):
        ancestor = protein(rng, 60)
        sequences += [mutated(rng, ancestor, share) for share in (1, 0.7, 0.45, 0.35)]
    expected = slow_pairs(sequences, 40)
    first, second = candidate_pairs(PackedProteins(sequences))
    assert 10 < len(expected) < 30
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected


def test_queries_are_paired_with_targets_alone():
    rng = random.Random(2)
    a = protein(rng, 100)
    sequences = [a, mutated(rng, a, 0.9), mutated(rng, a, 0.8), protein(rng, 100)]
    first, second = candidate_pairs(PackedProteins(sequences), 2)
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 2), (1, 2)]


def test_candidates_do_not_depend_on_the_size_of_the_working_blocks(monkeypatch):
    rng = random.Random(5)
    ancestors = [protein(rng, 150) for _ in range(10)]
    packed = PackedProteins([mutated(rng, rng.choice(ancestors), 0.75) for _ in range(80)])
    whole = candidate_pairs(packed)
    monkeypatch.setattr("plmsae.proteins.seeds._HITS", 500)
    for a, b in zip(whole, candidate_pairs(packed), strict=True):
        assert np.array_equal(a, b)
