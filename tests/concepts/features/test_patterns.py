import numpy as np
import pytest
from scipy.sparse import csr_array

from plmsae.concepts.features.patterns import activation_patterns

LENGTH = 120


def proteins(draw, n=10):
    rng = np.random.default_rng(0)
    stack = []
    for _ in range(n):
        dense = np.zeros((LENGTH, 9), dtype=np.float32)
        for latent, rows in enumerate(draw(rng)):
            dense[rows, latent] = 1
        stack.append(csr_array(dense))
    return stack


def test_every_shape_gets_its_class():
    def draw(rng):
        at = int(rng.integers(0, 40))
        return [
            [at],  # point
            range(at, at + 12),  # short motif
            range(at, at + 35),  # medium
            range(at, at + 60),  # long
            range(2, LENGTH),  # whole
            range(at % 7, LENGTH, 7),  # periodic: a heptad
            np.sort(rng.choice(LENGTH, 25, replace=False)),  # scattered: not periodic
            [],  # dead
        ]

    frame = activation_patterns(proteins(draw), np.ones(9))
    assert frame["pattern"].to_list()[:6] == [
        "point", "short", "medium", "long", "whole", "periodic",
    ]  # fmt: skip
    assert frame["pattern"][6] in ("point", "short")
    assert frame["pattern"].to_list()[7:] == ["dead", "dead"]
    assert frame["period"][5] == 7
    assert frame["n_proteins"].to_list() == [10] * 7 + [0, 0]
    assert frame["median_run"][2] == 35
    assert frame["coverage"][4] == pytest.approx((LENGTH - 2) / LENGTH)


def test_repeats_of_varying_length_are_still_periodic():
    def draw(rng):
        start = np.cumsum(rng.integers(18, 23, 5))
        return [np.concatenate([np.arange(s, s + 4) for s in start if s + 4 < LENGTH])]

    frame = activation_patterns(proteins(draw), np.ones(9))
    assert frame["pattern"][0] == "periodic"
    assert 18 <= frame["period"][0] <= 22


def test_a_latent_of_few_proteins_is_rare():
    frame = activation_patterns(proteins(lambda rng: [[3]], n=2), np.ones(9))
    assert frame["pattern"][0] == "rare"


def test_only_a_latent_that_never_fires_is_dead():
    arrays = [csr_array(np.array([[1.0, 0.1, 0.2, 0.0]], dtype=np.float32))] * 6
    # The second stays below the level, the third never fired where its scale was taken.
    frame = activation_patterns(arrays, [1.0, 1.0, 0.0, 1.0])
    assert frame["pattern"].to_list() == ["whole", "rare", "rare", "dead"]
    assert frame["n_proteins"].to_list() == [6, 0, 0, 0]


def test_a_weak_activation_does_not_count():
    arrays = [csr_array(np.array([[1.0], [0.1], [0.1]], dtype=np.float32))] * 6
    assert activation_patterns(arrays, [1.0])["pattern"].to_list() == ["point"]


def test_runs_end_with_their_protein():
    arrays = [csr_array(np.array([[0.0], [0.0], [0], [1]], dtype=np.float32)),
              csr_array(np.array([[1.0], [0.0], [0], [0]], dtype=np.float32))] * 4  # fmt: skip
    frame = activation_patterns(arrays, [1.0])
    assert frame["median_run"].to_list() == [1.0]
    assert frame["n_proteins"].to_list() == [8]


def on(length, *spans):
    values = np.zeros(length, dtype=np.float32)
    for start, end in spans:
        values[start:end] = 1.0
    return values


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        (on(100, (5, 6)), "point"),
        (on(100, (5, 6), (30, 31), (37, 38)), "point"),
        (on(100, *[(i, i + 1) for i in range(0, 100, 7)]), "periodic"),
        (on(100, *[(i, i + 3) for i in range(0, 100, 11)]), "periodic"),
        (on(100, (5, 15)), "short"),
        (on(100, (5, 45)), "medium"),
        (on(200, (5, 100)), "long"),
        (on(100, (5, 98)), "whole"),
        (on(100), "dead"),
    ],
)
def test_patterns_are_named_as_they_look(values, pattern):
    arrays = [csr_array(column[:, None]) for column in (values, on(50))]
    assert activation_patterns(arrays, [1.0], min_proteins=1)["pattern"].to_list() == [pattern]
