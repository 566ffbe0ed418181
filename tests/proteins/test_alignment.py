"""Alignments by the library, against a slow dynamic programme."""

from __future__ import annotations

import random

import numpy as np
import pytest

from plmsae.proteins.alignment import align, scores
from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.proteins.blosum import BLOSUM62, LETTERS


def slow_score(a: str, b: str) -> int:
    """Smith-Waterman with a gap of n residues at 11 + n, as Gotoh wrote it; X scores -1."""
    low = -(10**6)
    best = 0
    h = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    e = [[low] * (len(b) + 1) for _ in range(len(a) + 1)]
    f = [[low] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            e[i][j] = max(h[i][j - 1] - 12, e[i][j - 1] - 1)
            f[i][j] = max(h[i - 1][j] - 12, f[i - 1][j] - 1)
            h[i][j] = max(0, h[i - 1][j - 1] + pair(a[i - 1], b[j - 1]), e[i][j], f[i][j])
            best = max(best, h[i][j])
    return best


def pair(a: str, b: str) -> int:
    return int(BLOSUM62[LETTERS.index(a), LETTERS.index(b)])


def relatives(rng: random.Random) -> tuple[str, str]:
    a = rng.choices(AMINO_ACIDS, k=rng.randint(20, 70))
    b = [x if rng.random() < 0.6 else rng.choice(AMINO_ACIDS) for x in a]
    at = rng.randrange(len(b))
    if rng.random() < 0.5:
        del b[at : at + rng.randint(1, 6)]
    else:
        b[at:at] = rng.choices(AMINO_ACIDS, k=rng.randint(1, 6))
    return "".join(a), "".join(b)


def test_scores_equal_a_slow_smith_waterman():
    rng = random.Random(0)
    for _ in range(25):
        a, b = relatives(rng)
        assert scores(a, [b, a]).tolist() == [slow_score(a, b), slow_score(a, a)]


def test_the_path_earns_the_score_and_its_identity_is_counted_on_it():
    rng = random.Random(1)
    for _ in range(50):
        a, b = relatives(rng)
        (found,) = align(a, [b])
        at_a, at_b = found.query_positions, found.target_positions
        steps = np.stack([np.diff(at_a), np.diff(at_b)]) - 1
        gaps = steps[steps > 0]
        matched = [pair(a[i], b[j]) for i, j in zip(at_a, at_b, strict=True)]
        assert sum(matched) - (11 * len(gaps) + gaps.sum()) == found.score == slow_score(a, b)
        assert found.n_columns == len(at_a) + gaps.sum()
        same = sum(a[i] == b[j] for i, j in zip(at_a, at_b, strict=True))
        assert found.identity == pytest.approx(same / found.n_columns)
        assert found.query_span == (at_a[0], at_a[-1] + 1)


def test_letters_that_are_no_amino_acids_are_unknown_and_empty_ones_align_with_nothing():
    assert scores("MKUO*MKW", ["MKUO*MKW"]).tolist() == scores("MKXXXMKW", ["MKXXXMKW"]).tolist()
    assert scores("", ["MK"]).tolist() == scores("MK", [""]).tolist() == [0]
    (found,) = align("WWW", ["DDD"])
    assert (found.n_columns, found.query_span) == (0, (0, 0))
