from functools import reduce
from operator import add

import numpy as np
import pytest
from conftest_concepts import label_table, make_world, slow_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from plmsae.concepts.association.counts import INTERPLM_THRESHOLDS, Counts, associate
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.concepts.latents import max_activations, scale, stack_rows
from plmsae.core.errors import InputError


def labels_of(world):
    return build_residue_labels(world.table, world.accessions, world.lengths)


def assert_equal_to_slow(world, counts, highest, thresholds):
    inside, found, fires, residues, instances = slow_counts(
        world, counts.concepts, highest, thresholds
    )
    assert np.array_equal(counts.true_positives_CFT(), inside)
    assert np.array_equal(counts.found_CFT(), found)
    assert np.array_equal(counts.fires_FT(), fires)
    assert np.array_equal(counts.n_residues_C, residues)
    assert np.array_equal(counts.n_instances_C, instances)
    assert counts.n_rows == sum(world.lengths)


@given(seed=st.integers(0, 10**6), max_entries=st.sampled_from([1, 30, 10**6]))
@settings(max_examples=40, deadline=None)
def test_counts_equal_plain_loops_whatever_the_chunks(seed, max_entries):
    world = make_world(seed)
    highest = max_activations(world.latents, 6)
    counts = associate(world.latents, labels_of(world), highest, max_entries=max_entries)
    assert_equal_to_slow(world, counts, highest, INTERPLM_THRESHOLDS)


@given(seed=st.integers(0, 10**6), n_thresholds=st.sampled_from([1, 9, 40]))
@settings(max_examples=15, deadline=None)
def test_counts_hold_for_any_number_of_thresholds(seed, n_thresholds):
    # Many thresholds and long instances do not fit the digits of one integer: groups are merged.
    world = make_world(seed, longest=40)
    thresholds = np.linspace(0.1, 0.95, n_thresholds).tolist()
    highest = max_activations(world.latents, 6)
    counts = associate(world.latents, labels_of(world), highest, thresholds=thresholds)
    assert_equal_to_slow(world, counts, highest, thresholds)


@given(seed=st.integers(0, 10**6), cut=st.integers(0, 4))
@settings(max_examples=20, deadline=None)
def test_counts_of_two_sets_of_proteins_add_up(seed, cut):
    world = make_world(seed)
    highest = max_activations(world.latents, 6)
    labels, n = labels_of(world), len(world.latents)
    parts = [
        associate([world.latents[i] for i in those], labels.take(those), highest)
        for those in (np.arange(min(cut, n)), np.arange(min(cut, n), n))
        if len(those)
    ]
    both = reduce(add, parts)
    assert_equal_to_slow(world, both, highest, INTERPLM_THRESHOLDS)
    assert np.array_equal(both.n_proteins_C, labels.proteins_C())


def test_counts_of_other_latents_cannot_be_added():
    labels = labels_of(make_world(0))
    with pytest.raises(InputError, match="cannot be added"):
        Counts(labels, 6) + Counts(labels, 7)


def test_an_instance_of_a_whole_long_protein_keeps_its_highest_bin():
    length = 40_000
    table = label_table([("A", 1, length, "chain", "span")])
    labels = build_residue_labels(table, ["A"], [length])
    data = np.full(length, 0.55, dtype=np.float32)
    latents = csr_array(data[:, None])
    counts = associate([latents], labels, [1.0])
    assert counts.found_CFT()[0, 0].tolist() == [1, 1, 1, 0, 0]
    assert counts.true_positives_CFT()[0, 0].tolist() == [length] * 3 + [0, 0]


def test_thresholds_apply_to_scaled_activations():
    # A public implementation stores the scale and then compares raw activations.
    labels = build_residue_labels(label_table([("A", 1, 2, "x", "span")]), ["A"], [2])
    latents = csr_array(np.array([[30.0], [100.0]], dtype=np.float32))
    counts = associate([latents], labels, [100.0])
    assert counts.fires_FT()[0].tolist() == [2, 2, 1, 1, 1]


def test_an_activation_on_the_threshold_is_not_above_it():
    labels = build_residue_labels(label_table([("A", 1, 1, "x", "site")]), ["A"], [1])
    counts = associate([csr_array(np.array([[0.5]], dtype=np.float32))], labels, [1.0])
    assert counts.fires_FT()[0].tolist() == [1, 1, 0, 0, 0]


def test_a_dead_latent_is_dead_and_not_nan():
    latents = csr_array(np.array([[0.0, 2.0], [3.0, 1.0]], dtype=np.float32))
    scaled = scale(latents, [0.0, 2.0])
    assert scaled.toarray().tolist() == [[0.0, 1.0], [0.0, 0.5]]
    assert scaled.nnz == 2


def test_scaling_leaves_the_activations_as_they_were():
    latents = csr_array(np.array([[4.0, 2.0]], dtype=np.float32))
    scale(latents, [0.0, 2.0])
    assert latents.toarray().tolist() == [[4.0, 2.0]]


def test_a_site_is_recalled_by_residue_and_a_span_by_instance():
    # Kind comes from the table: a public implementation guesses it from the name.
    rows = [("A", 1, 4, "Binding domain", "site"), ("A", 1, 4, "Active site region", "span")]
    labels = build_residue_labels(label_table(rows), ["A"], [4])
    fires_once = csr_array(np.array([[1.0], [0], [0], [0]], dtype=np.float32))
    counts = associate([fires_once], labels, [1.0])
    assert counts.concepts == ("Active site region", "Binding domain")
    assert (counts.found_CFT()[:, 0, 0] / counts.targets_C).tolist() == [1.0, 0.25]


def test_overlapping_instances_are_both_found_by_a_shared_residue():
    table = label_table([("A", 1, 3, "x", "span"), ("A", 3, 5, "x", "span")])
    labels = build_residue_labels(table, ["A"], [5])
    latents = csr_array(np.array([[0, 0, 1.0, 0, 0]], dtype=np.float32).T)
    counts = associate([latents], labels, [1.0])
    assert counts.found_CFT()[0, 0, 0] == 2
    assert counts.true_positives_CFT()[0, 0, 0] == 1


def test_activations_of_another_length_than_the_labels_are_refused():
    # Public code cuts sequences at 1,022 residues for the activations and not for the labels.
    world = make_world(1)
    counts = Counts(labels_of(world), 6)
    with pytest.raises(InputError, match="residues"):
        counts.add(stack_rows(world.latents)[:-1], labels_of(world))


def test_latents_of_another_sae_are_refused():
    world = make_world(1)
    with pytest.raises(InputError, match=r"one SAE.*6, 7"):
        associate([world.latents[0], csr_array((3, 7))], labels_of(world), np.ones(6))
    with pytest.raises(InputError, match="scale is of 5 latents"):
        associate(world.latents, labels_of(world), np.ones(5))


@pytest.mark.parametrize("wrong", [[], [0.5, 0.2], [0.1, 1.0], [-0.1], [0.2, 0.2]])
def test_thresholds_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError, match="thresholds"):
        Counts(labels_of(make_world(1)), 6, wrong)


def test_negative_or_missing_activations_are_refused():
    for wrong in (-1.0, np.nan):
        with pytest.raises(InputError, match="negative or not a number"):
            max_activations([csr_array(np.array([[wrong]], dtype=np.float32))], 1)
