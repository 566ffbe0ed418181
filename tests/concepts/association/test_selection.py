import numpy as np
import pytest
from conftest_concepts import label_table, make_world
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from plmsae.concepts.association import selection
from plmsae.concepts.association.counts import associate
from plmsae.concepts.association.selection import promising_pairs, score_pairs, select_pairs
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.concepts.latents import max_activations


def counts_of(world):
    labels = build_residue_labels(world.table, world.accessions, world.lengths)
    return associate(world.latents, labels, max_activations(world.latents, 6))


def slow_f1(counts):
    inside, found = counts.true_positives_CFT(), counts.found_CFT()
    fires, targets = counts.fires_FT(), counts.targets_C
    f1 = np.zeros(inside.shape)
    for c, f, t in np.ndindex(*inside.shape):
        if inside[c, f, t] and found[c, f, t]:
            precision, recall = inside[c, f, t] / fires[f, t], found[c, f, t] / targets[c]
            f1[c, f, t] = 2 * precision * recall / (precision + recall)
    return f1


@given(seed=st.integers(0, 10**6), block=st.sampled_from([1, 60, 10**6]))
@settings(max_examples=40, deadline=None)
def test_the_best_pairs_are_those_of_an_exhaustive_search(seed, block):
    counts = counts_of(make_world(seed))
    before, selection._BLOCK = selection._BLOCK, block
    try:
        best = select_pairs(counts)
        promising = promising_pairs(counts, 0.5)
    finally:
        selection._BLOCK = before
    f1 = slow_f1(counts)
    assert np.allclose(best.f1_C, f1.max(axis=(1, 2)))
    assert np.allclose(best.f1_F, f1.max(axis=(0, 2)))
    for c in np.flatnonzero(best.latent_C >= 0):
        assert np.isclose(f1[c, best.latent_C[c], best.threshold_C[c]], best.f1_C[c])
    for f in np.flatnonzero(best.concept_F >= 0):
        assert np.isclose(f1[best.concept_F[f], f, best.threshold_F[f]], best.f1_F[f])
    assert np.all((best.concept_F < 0) == (best.f1_F == 0))
    assert np.all((best.latent_C < 0) == (best.f1_C == 0))
    assert {(c, f) for c, f in promising.tolist()} == set(
        zip(*np.nonzero(f1.max(axis=2) > 0.5), strict=True)
    )
    c, f, t = (index.ravel() for index in np.indices(f1.shape))
    scored = score_pairs(counts, c, f, t)
    assert np.allclose(scored.f1_Q, f1.ravel())


def test_the_threshold_is_not_chosen_again_on_the_report_split():
    # On `select` every threshold but the lowest misses; on `report` only the highest is right.
    table = label_table([("A", 1, 2, "x", "site"), ("A", 2, 2, "x", "site")])
    labels = build_residue_labels(table.head(1), ["A"], [4])
    select = associate([csr_array(np.array([[0.1, 0.1, 0, 0]], dtype=np.float32).T)], labels, [1.0])
    report = associate(
        [csr_array(np.array([[0.9, 0.9, 0.1, 0.1]], dtype=np.float32).T)], labels, [1.0]
    )
    best = select_pairs(select)
    assert best.threshold_C.tolist() == [0]
    scores = score_pairs(report, [0], best.latent_C, best.threshold_C)
    assert scores.precision_Q[0] == 0.5
    assert scores.recall_Q[0] == 1.0
    assert select_pairs(report).f1_C[0] == 1.0


@pytest.mark.parametrize("block", [1, 10**6])
def test_a_latent_that_finds_a_class_and_its_only_member_alike_is_named_by_the_member(
    block, monkeypatch
):
    monkeypatch.setattr(selection, "_BLOCK", block)
    rows = [("A", 1, 2, name, "span") for name in ("Transmembrane", "Transmembrane: Helical")]
    table = label_table([*rows, ("A", 3, 4, "Zinc finger", "span")])
    labels = build_residue_labels(table, ["A"], [4])
    latent = csr_array(np.array([[0.9, 0.9, 0, 0]], dtype=np.float32).T)
    best = select_pairs(associate([latent], labels, [1.0]))
    assert labels.concepts[best.concept_F[0]] == "Transmembrane: Helical"
    assert best.f1_F[0] == 1.0


def test_a_latent_silent_on_the_report_split_has_no_precision_and_an_f1_of_zero():
    table = label_table([("A", 1, 2, "x", "span")])
    labels = build_residue_labels(table, ["A"], [4])
    silent = associate([csr_array((4, 1), dtype=np.float32)], labels, [1.0])
    scores = score_pairs(silent, [0], [0], [0])
    assert np.isnan(scores.precision_Q[0])
    assert scores.recall_Q[0] == 0
    assert scores.f1_Q[0] == 0
    assert select_pairs(silent).latent_C.tolist() == [-1]
