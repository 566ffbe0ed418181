import numpy as np
import pytest
from planted import planted
from scipy.sparse import csr_array

from plmsae.concepts.baselines.comparison import count_detected
from plmsae.concepts.baselines.components import (
    independent_components,
    moments,
    principal_components,
)
from plmsae.concepts.baselines.control_latents import signed_units
from plmsae.core.errors import InputError


def pieces(x):
    return np.array_split(x, 7)


def test_moments_of_blocks_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr("plmsae.concepts.baselines.components._ROWS", 40)
    x = np.random.default_rng(0).normal(1e4, 1, size=(300, 5)).astype(np.float32)
    seen = moments(pieces(x))
    assert seen.n == 300
    assert np.allclose(seen.mean_D, x.astype(np.float64).mean(0))
    # A mean of 10,000 standard deviations cancels in a sum of squares, not here.
    assert np.allclose(seen.covariance_DD, np.cov(x.astype(np.float64).T, bias=True), atol=1e-9)


def test_principal_components_are_scikit_learns_up_to_sign():
    from sklearn.decomposition import PCA

    x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32) * np.arange(1, 7)
    mine = principal_components(moments(pieces(x)))
    theirs = PCA().fit(x)
    cosine = np.abs(np.sum(mine.directions_KD * theirs.components_, axis=1))
    assert np.allclose(cosine, 1, atol=1e-4)
    assert mine.n_latents == 12  # all components, both signs
    split = signed_units(mine.project(x)).toarray()
    projected = np.abs(split[:, :6] - split[:, 6:])
    assert np.allclose(projected, np.abs(theirs.transform(x)), atol=1e-3)


def test_a_direction_without_variance_is_no_component():
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    flat = np.concatenate([x, -x.sum(1, keepdims=True)], axis=1)  # as after a layer norm
    assert len(principal_components(moments([flat])).directions_KD) == 4
    with pytest.raises(InputError, match="all equal"):
        principal_components(moments([np.ones((5, 3), dtype=np.float32)]))


def test_independent_components_are_found():
    rng = np.random.default_rng(1)
    sources = rng.laplace(size=(3000, 3))
    mixed = (sources @ rng.normal(size=(3, 3)) + 5).astype(np.float32)
    fitted = independent_components(moments([mixed]), mixed[:2000])
    found = signed_units(fitted.project(mixed)).toarray()
    found = found[:, :3] - found[:, 3:]
    cosine = np.abs(np.corrcoef(found.T, sources.T)[:3, 3:])
    assert np.all(cosine.max(axis=0) > 0.95)
    assert fitted.note == "fitted on 2,000 residues"
    again = independent_components(moments([mixed]), mixed[:2000])
    assert np.array_equal(again.directions_KD, fitted.directions_KD)


def test_a_fit_that_does_not_converge_is_used_and_says_so(recwarn):
    x = np.random.default_rng(0).normal(size=(400, 12)).astype(np.float32)
    fitted = independent_components(moments([x]), x, max_iterations=10)
    assert fitted.note.endswith("not converged after 10 rounds")
    assert np.isfinite(fitted.directions_KD).all()
    assert not recwarn.list


def test_nothing_has_no_components():
    with pytest.raises(InputError, match="no activations"):
        moments([])


def test_concepts_in_superposition_are_found_by_sparse_latents_and_not_by_components():
    world = planted(n_proteins=60, n_concepts=6, n_dense=40, d=12)
    select, report = world.both()
    x = np.concatenate([world.states[i] for i in select[0]])
    seen = moments([x])
    methods = {
        "sae": ([csr_array(t) for t in world.truth], 46),
        "neuron": ([signed_units(s, seen.mean_D) for s in world.states], 24),
    }
    for name, fitted in (
        ("pca", principal_components(seen)),
        ("ica", independent_components(seen, x)),
    ):
        methods[name] = ([signed_units(fitted.project(s)) for s in world.states], fitted.n_latents)
    found = {
        name: len(count_detected(name, arrays.__getitem__, select, report, width).concepts)
        for name, (arrays, width) in methods.items()
    }
    assert found == {"sae": 6, "neuron": 0, "pca": 0, "ica": 0}
