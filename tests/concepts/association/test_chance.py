"""F1 of detectors that know nothing, against detectors that really fire so."""

import itertools

import numpy as np
import pytest
from conftest_concepts import label_table
from scipy.sparse import csr_array

from plmsae.concepts.association.chance import f1_always_on, f1_by_chance
from plmsae.concepts.association.counts import associate
from plmsae.concepts.association.selection import score_pairs
from plmsae.concepts.labels.residue_labels import build_residue_labels

LENGTHS = [400] * 30


@pytest.fixture(scope="module")
def labels():
    rng = np.random.default_rng(1)
    rows = []
    for p in range(30):
        rows += [
            (f"P{p}", start, start + int(rng.integers(1, 30)), "helix", "span")
            for start in range(1, 380, 40)
        ]
        rows += [(f"P{p}", int(i), int(i), "site", "site") for i in rng.integers(1, 400, 40)]
    return build_residue_labels(label_table(rows), [f"P{p}" for p in range(30)], LENGTHS)


def f1_of(labels, dense):
    latents = [csr_array(dense[a:b]) for a, b in itertools.pairwise(labels.offsets_P1)]
    counts = associate(latents, labels, np.ones(1), thresholds=(0.0,))
    return score_pairs(counts, [0, 1], [0, 0], [0, 0]).f1_Q


def test_the_detector_that_always_fires_scores_as_computed(labels):
    real = f1_of(labels, np.ones((labels.n_rows, 1), dtype=np.float32))
    weight = np.ones((30, 1))
    assert np.allclose(f1_always_on(labels, np.arange(2), weight)[:, 0], real)


@pytest.mark.parametrize("density", [0.02, 0.2, 0.7])
def test_firing_at_random_scores_as_expected_and_never_above_always(labels, density):
    rng = np.random.default_rng(2)
    real = np.mean(
        [
            f1_of(labels, (rng.random((labels.n_rows, 1)) < density).astype(np.float32))
            for _ in range(20)
        ],
        axis=0,
    )
    expected = f1_by_chance(labels, np.arange(2), np.full(2, density))
    assert np.allclose(expected, real, atol=0.02)
    assert (expected <= f1_always_on(labels, np.arange(2), np.ones((30, 1)))[:, 0]).all()
