from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from plmsae.atlas.latents import histograms
from plmsae.atlas.relations import (
    best_correlated,
    map_of,
    nearest_directions,
)

RNG = np.random.default_rng(0)


def sparse(n: int, f: int) -> csr_array:
    return csr_array(RNG.random((n, f)) * (RNG.random((n, f)) < 0.3)).astype(np.float32)


def test_the_nearest_directions_are_those_of_the_highest_cosine() -> None:
    a = RNG.normal(size=(30, 8)).astype(np.float32)
    unit = a / np.linalg.norm(a, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    latent, value = nearest_directions(a, n=3)
    np.testing.assert_array_equal(latent, np.argsort(-cosine, axis=1)[:, :3])
    np.testing.assert_allclose(value[:, 0], cosine.max(axis=1), rtol=1e-5)


def test_correlation_is_pearsons_over_all_residues() -> None:
    a, b = sparse(200, 7), sparse(200, 5)
    full = np.corrcoef(a.toarray().T, b.toarray().T)[:7, 7:]
    latent, r = best_correlated(a, b)
    np.testing.assert_array_equal(latent, full.argmax(axis=1))
    np.testing.assert_allclose(r, full.max(axis=1), atol=1e-5)


def test_a_latent_that_never_fires_matches_nothing() -> None:
    a = sparse(50, 3).toarray()
    a[:, 1] = 0
    latent, r = best_correlated(csr_array(a), sparse(50, 4))
    assert latent[1] == -1
    assert r[1] == 0


def test_the_histogram_counts_every_active_residue_once() -> None:
    scaled = sparse(90, 4)
    scaled.data[0] = 1.7
    counts = histograms(scaled)
    dense = scaled.toarray()
    np.testing.assert_array_equal(counts.sum(axis=1), (dense > 0).sum(axis=0))
    np.testing.assert_array_equal(
        counts[2], np.histogram(np.minimum(dense[dense[:, 2] > 0, 2], 1), np.linspace(0, 1, 21))[0]
    )


def test_near_directions_are_near_on_the_map_and_dead_latents_are_not_on_it() -> None:
    directions = np.repeat(np.eye(6), 10, axis=0) + 0.05 * RNG.normal(size=(60, 6))
    alive = np.ones(60, dtype=bool)
    alive[5] = False
    places = map_of(directions, alive, seed=0)
    assert np.isnan(places[5]).all()
    rest = np.flatnonzero(alive)
    distance = np.linalg.norm(places[rest, None] - places[None, rest], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (rest[distance.argmin(axis=1)] // 10 == rest // 10).mean() > 0.9
