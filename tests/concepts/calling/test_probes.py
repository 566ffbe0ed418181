import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.metrics import average_precision_score

from plmsae.concepts.calling.probes import (
    Probe,
    ProbeRows,
    contributions,
    fit_probe,
    probe_activations,
    rank_candidates,
)
from plmsae.core.errors import InputError


@pytest.fixture(scope="module")
def planted():
    """The concept is where latents 3 and 7 fire together, in 90 %, and 0.5 % of the rest."""
    rng = np.random.default_rng(0)
    dense = rng.uniform(0.5, 1, (12_000, 40)) * (rng.random((12_000, 40)) < 0.15)
    both = (dense[:, 3] > 0) & (dense[:, 7] > 0)
    truth = rng.random(12_000) < np.where(both, 0.9, 0.005)
    return csr_array(dense.astype(np.float32)), truth


def fit(planted, **changed):
    scaled, truth = planted
    fold = [ProbeRows.of(csr_array(scaled[part])) for part in (slice(0, 5000), slice(5000, 8000))]
    arguments = {"candidates": np.arange(40)} | changed
    return fit_probe(fold[0], truth[:5000], fold[1], truth[5000:8000], **arguments)


def test_a_probe_of_two_latents_beats_each_of_them(planted):
    scaled, truth = planted
    probe = fit(planted)
    assert {3, 7} <= set(probe.latents)
    held = csr_array(scaled[8000:])
    fires = probe_activations(held, [probe], np.ones(40)).toarray()[:, 0]
    ap = average_precision_score(truth[8000:], fires)
    dense = held.toarray()
    single = max(average_precision_score(truth[8000:], dense[:, f]) for f in range(40))
    assert ap > 0.6
    assert ap > 2 * single


def test_the_latents_are_no_more_than_allowed(planted):
    assert len(fit(planted, max_latents=2).latents) <= 2


def test_few_rows_of_the_common_kind_are_enough(planted):
    scaled, truth = planted
    few, all_rows = fit(planted, max_rows=900), fit(planted, max_rows=10**6)
    dense = csr_array(scaled[8000:])
    fires = probe_activations(dense, [few, all_rows], np.ones(40)).toarray()
    ap = [average_precision_score(truth[8000:], fires[:, j]) for j in (0, 1)]
    assert ap[0] == pytest.approx(ap[1], abs=0.08)


def test_a_concept_without_a_trace_or_without_rows_has_no_probe():
    rng = np.random.default_rng(1)
    rows = ProbeRows.of(csr_array((rng.random((900, 5)) < 0.1).astype(np.float32)))
    truth = rng.random(900) < 0.2
    assert fit_probe(rows, truth, rows, ~truth & (rng.random(900) < 0.2), np.arange(5)) is None
    assert fit_probe(rows, truth & False, rows, truth, np.arange(5)) is None
    assert fit_probe(rows, truth, rows, truth & False, np.arange(5)) is None
    assert fit_probe(rows, truth, rows, truth, np.zeros(0, dtype=np.int64)) is None


def test_the_seed_decides(planted):
    assert fit(planted, max_rows=900) == fit(planted, max_rows=900)


PROBES = (
    Probe(latents=(1, 3), weights=(0.5, -0.25), constant=0.1),
    Probe(latents=(0,), weights=(2.0,), constant=0.0),
)


@given(seed=st.integers(0, 10**6), cut=st.integers(1, 29))
@settings(max_examples=25, deadline=None)
def test_a_probe_is_a_weighted_sum_less_a_constant_whatever_else_is_in_the_batch(seed, cut):
    rng = np.random.default_rng(seed)
    dense = (rng.random((30, 5)) * (rng.random((30, 5)) < 0.6)).astype(np.float32)
    scale = np.array([1, 2, 0, 0.5, 1], dtype=np.float32)
    scaled = np.divide(dense, scale, out=np.zeros_like(dense), where=scale > 0).astype(np.float64)
    slow = [np.maximum(scaled[:, 1] * 0.5 - scaled[:, 3] * 0.25 - 0.1, 0), scaled[:, 0] * 2]
    whole = probe_activations(csr_array(dense), PROBES, scale)
    assert np.allclose(whole.toarray(), np.stack(slow, axis=1), atol=1e-6)
    parts = [probe_activations(csr_array(part), PROBES, scale).toarray()
             for part in (dense[:cut], dense[cut:])]  # fmt: skip
    assert np.array_equal(whole.toarray(), np.concatenate(parts))


def test_silent_latents_make_a_silent_probe():
    assert probe_activations(csr_array((4, 5), dtype=np.float32), PROBES, np.ones(5)).nnz == 0
    assert probe_activations(csr_array((4, 5), dtype=np.float32), [], np.ones(5)).shape == (4, 0)


def test_a_call_names_the_latents_that_speak_for_it():
    probe = Probe(latents=(0, 1, 2, 3), weights=(1.0, 3.0, -1.0, 1.0), constant=0.0)
    dense = np.array([[1, 0, 9, 0], [0, 1, 9, 0], [5, 0, 0, 0]], dtype=np.float32)
    rows = csr_array(dense)
    spoken = contributions(rows, probe, np.ones(4), np.array([0, 0, 2]), np.array([1, 2, 3]))
    assert spoken == [[0], [1, 0], [0]]


def test_candidates_are_the_latents_that_stand_out():
    rng = np.random.default_rng(0)
    dense = (rng.random((500, 6)) * (rng.random((500, 6)) < 0.3)).astype(np.float32)
    mask = np.zeros((2, 500), dtype=np.int32)
    mask[0, 100:140] = mask[1, 300:340] = 1
    dense[100:140, 4] = 0.9
    dense[300:340, [2, 5]] = [0.6, 0.9]
    ranked = rank_candidates(csr_array(mask), csr_array(dense), 10)
    assert ranked.shape == (2, 6)
    assert ranked[0, 0] == 4
    assert ranked[1, :2].tolist() == [5, 2]


def test_a_probe_survives_json():
    for probe in PROBES:
        assert Probe.from_dict(json.loads(json.dumps(probe.to_dict())), 5) == probe


@pytest.mark.parametrize(
    "changed",
    [
        {"latents": [1, 5]},
        {"latents": [3, 1]},
        {"latents": [-1, 3]},
        {"latents": [1.0, 3]},
        {"latents": []},
        {"weights": [0.5]},
        {"weights": ["0.5", 1]},
        {"weights": [float("nan"), 1.0]},
        {"constant": -1.0},
        {"constant": None},
        {"code": "print()"},
    ],
)
def test_what_is_no_probe_is_refused(changed):
    with pytest.raises(InputError, match="no stored probe of an SAE of 5 latents"):
        Probe.from_dict(PROBES[0].to_dict() | changed, 5)
