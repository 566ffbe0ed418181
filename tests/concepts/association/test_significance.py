import numpy as np
from conftest_concepts import make_world, residue_pair_q_values
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, hypergeom

from plmsae.concepts.association.counts import associate
from plmsae.concepts.association.significance import (
    benjamini_hochberg,
    log_chernoff_tail,
    log_hypergeometric_tail,
)
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.concepts.latents import max_activations


@given(seed=st.integers(0, 10**6), total=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_the_exact_tail_is_scipys_and_the_bound_lies_above_it(seed, total):
    rng = np.random.default_rng(seed)
    drawn, marked = rng.integers(0, total + 1, 40), rng.integers(0, total + 1, 40)
    both = rng.integers(0, np.minimum(drawn, marked) + 1)
    tail = log_hypergeometric_tail(both, drawn, marked, total)
    assert np.allclose(np.exp(tail), hypergeom.sf(both - 1, total, marked, drawn), atol=1e-12)
    assert np.all(log_chernoff_tail(both, drawn, marked, total) >= tail - 1e-9)


def test_the_tail_stays_finite_where_the_p_value_underflows():
    tail = log_hypergeometric_tail(5000, 5000, 5000, 100_000)
    assert np.isfinite(tail)
    assert tail < -10_000


def test_a_depleted_pair_is_not_a_finding():
    # A two-sided test counts terms that a latent avoids as enriched.
    assert log_hypergeometric_tail(0, 50, 50, 100) == 0
    assert log_chernoff_tail(1, 50, 50, 100) == 0
    assert np.exp(log_hypergeometric_tail(1, 50, 50, 100)) > 0.999


@given(seed=st.integers(0, 10**6), size=st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_q_values_are_scipys(seed, size):
    p = np.random.default_rng(seed).random(size) ** 3
    assert np.allclose(benjamini_hochberg(p), false_discovery_control(p))


def test_tests_left_out_because_p_is_one_still_count():
    p = np.array([0.001, 0.02, 0.3])
    full = benjamini_hochberg(np.concatenate([p, np.ones(97)]))[:3]
    assert np.allclose(benjamini_hochberg(p, n_tests=100), full)


def test_random_latents_make_no_findings_and_planted_ones_do():
    world = make_world(11, n_proteins=120, longest=40)
    labels = build_residue_labels(world.table, world.accessions, world.lengths)
    planted = [a.copy() for a in world.latents]
    mask = labels.mask_CN()
    for p, array in enumerate(planted):
        dense = array.toarray()
        rows = slice(labels.offsets_P1[p], labels.offsets_P1[p + 1])
        dense[:, 0] = mask[:, rows].toarray()[1]
        planted[p] = type(array)(dense)
    highest = max_activations(planted, 6)
    counts = associate(planted, labels, highest)
    q = residue_pair_q_values(counts, counts)
    assert q.shape == (labels.n_concepts, 6)
    assert q[1, 0] < 0.01
    assert np.all(q[:, 1:] > 0.05)
    assert np.all(q[:, 5] == 1)  # the dead latent


def test_the_residues_of_one_domain_have_one_vote():
    # One domain of 200 residues that a latent covers by luck proves nothing.
    from conftest_concepts import label_table
    from scipy.sparse import csr_array

    labels = build_residue_labels(label_table([("A", 1, 200, "x", "span")]), ["A"], [1000])
    latents = csr_array((np.arange(1000) < 200).astype(np.float32)[:, None])
    counts = associate([latents], labels, [1.0])
    assert residue_pair_q_values(counts, counts)[0, 0] > 0.05
