import numpy as np
import pytest
from conftest_concepts import label_table, make_world, slow_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.metrics import average_precision_score, roc_auc_score

from plmsae.concepts.association.pairs import count_by_group, gather_pairs
from plmsae.concepts.association.ranking import rank_pairs
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.concepts.latents import max_activations, stack_rows


def all_pairs(world):
    labels = build_residue_labels(world.table, world.accessions, world.lengths)
    highest = max_activations(world.latents, 6)
    concept, latent = (i.ravel() for i in np.indices((labels.n_concepts, 6)))
    # Out of order, with one pair twice: nothing may rest on the order of the pairs.
    order = np.random.default_rng(0).permutation(len(concept))
    concept, latent = np.append(concept[order], concept[0]), np.append(latent[order], latent[0])
    return labels, highest, gather_pairs(world.latents, labels, concept, latent, highest), latent


def slow_best(world, labels, highest, c, f):
    values = np.unique(stack_rows(world.latents).toarray()[:, f])
    scale = highest[f] if highest[f] > 0 else np.float32(1)
    best = 0.0
    for level in (values / scale).astype(np.float32):
        inside, found, fires, residues, instances = slow_counts(
            world, labels.concepts, highest, [level]
        )
        targets = instances[c] if labels.is_span_C[c] else residues[c]
        if inside[c, f, 0]:
            p, r = inside[c, f, 0] / fires[f, 0], found[c, f, 0] / targets
            best = max(best, 2 * p * r / (p + r))
    return best


@given(seed=st.integers(0, 10**6))
@settings(max_examples=6, deadline=None)
def test_the_exact_threshold_is_the_best_of_all(seed):
    world = make_world(seed, n_proteins=3, n_concepts=2)
    labels, highest, pairs, latent = all_pairs(world)
    ranking = rank_pairs(pairs)
    expected = [
        slow_best(world, labels, highest, c, f)
        for c, f in zip(pairs.concept_Q, latent, strict=True)
    ]
    assert np.allclose(ranking.f1_Q, expected)
    threshold = np.nan_to_num(ranking.threshold_Q)
    assert np.allclose(np.nan_to_num(count_by_group(pairs, threshold).f1())[ranking.f1_Q > 0],
                       ranking.f1_Q[ranking.f1_Q > 0])  # fmt: skip
    assert np.array_equal(np.isnan(ranking.threshold_Q), ranking.f1_Q == 0)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_average_precision_and_auroc_are_scikit_learns(seed):
    world = make_world(seed)
    labels, _, pairs, latent = all_pairs(world)
    ranking = rank_pairs(pairs)
    dense, mask = stack_rows(world.latents).toarray(), labels.mask_CN().toarray()
    for q, (c, f) in enumerate(zip(pairs.concept_Q, latent, strict=True)):
        ap = average_precision_score(mask[c], dense[:, f])
        assert ranking.average_precision_Q[q] == pytest.approx(ap)
        if mask[c].all():
            assert np.isnan(ranking.auroc_Q[q])
        else:
            assert ranking.auroc_Q[q] == pytest.approx(roc_auc_score(mask[c], dense[:, f]))


def test_the_threshold_lies_between_the_activations_it_parts():
    labels = build_residue_labels(label_table([("A", 1, 2, "x", "site")]), ["A"], [4])
    latents = csr_array(np.array([[1.0, 0.8, 0.4, 0]], dtype=np.float32).T)
    ranking = rank_pairs(gather_pairs([latents], labels, [0], [0], [1.0]))
    assert ranking.threshold_Q[0] == pytest.approx(0.6)
    assert ranking.f1_Q[0] == 1.0


def test_neighbouring_floats_are_still_parted():
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    labels = build_residue_labels(label_table([("A", 1, 1, "x", "site")]), ["A"], [2])
    latents = csr_array(np.array([[high, low]], dtype=np.float32).T)
    ranking = rank_pairs(gather_pairs([latents], labels, [0], [0], [1.0]))
    assert low <= np.float32(ranking.threshold_Q[0]) < high


def test_a_latent_that_never_fires_ranks_at_chance():
    labels = build_residue_labels(label_table([("A", 1, 1, "x", "site")]), ["A"], [4])
    ranking = rank_pairs(gather_pairs([csr_array((4, 1))], labels, [0], [0], [1.0]))
    assert ranking.auroc_Q[0] == 0.5
    assert ranking.average_precision_Q[0] == 0.25
    assert np.isnan(ranking.threshold_Q[0])
