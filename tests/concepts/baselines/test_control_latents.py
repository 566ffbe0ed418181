import numpy as np
from conftest_concepts import label_table, make_world
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.concepts.baselines.control_latents import (
    amino_acid_latents,
    shuffle_labels,
    signed_units,
    window_latents,
)
from plmsae.concepts.labels.residue_labels import build_residue_labels


def test_a_neuron_gives_one_latent_for_each_sign():
    latents = signed_units(np.array([[1.0, -2.0], [-3.0, 0.0]], dtype=np.float32))
    assert latents.toarray().tolist() == [[1, 0, 0, 2], [0, 0, 3, 0]]
    assert latents.nnz == 3
    centred = signed_units(np.array([[1.0, -2.0]], dtype=np.float32), [2.0, -2.0])
    assert centred.toarray().tolist() == [[0, 0, 1, 0]]


def test_amino_acid_latents_fire_on_their_letter():
    latents = amino_acid_latents(["CAC", "X"])
    assert [a.shape for a in latents] == [(3, 26), (1, 26)]
    assert latents[0].toarray()[:, 2].tolist() == [1, 0, 1]


def test_windows_see_their_neighbours_and_the_ends():
    same, other = window_latents(["ACDACD", "ACD"])
    assert same.shape[1] == 22**3
    codes = same.indices
    assert codes[1] == codes[4]  # ACD twice
    assert codes[0] != codes[3]  # A after the start, A after D
    assert other.indices[1] == codes[1]
    assert window_latents(["AUA"])[0].indices[1] == window_latents(["AXA"])[0].indices[1]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_shuffled_labels_keep_counts_and_lengths_in_each_split(seed):
    world = make_world(seed, n_proteins=6)
    labels = build_residue_labels(world.table, world.accessions, world.lengths)
    group = np.array(["a", "b"] * 3)
    table = shuffle_labels(labels, seed, group)
    assert table.height == labels.n_instances

    def census(frame):
        rows = frame.unique().rows()
        split = dict(zip(world.accessions, group, strict=True))
        return sorted((split[a], c, k, e - s) for a, s, e, c, k in rows)

    moved = build_residue_labels(table, world.accessions, world.lengths)  # all positions fit
    assert moved.concepts == labels.concepts
    if table.is_unique().all():
        assert census(table) == census(world.table)


def test_shuffled_labels_do_move():
    rows = [("A", i, i + 4, "x", "span") for i in range(1, 100, 10)]
    labels = build_residue_labels(label_table(rows), ["A", "B"], [200, 200])
    moved = shuffle_labels(labels, 0)
    assert set(moved["accession"]) == {"A", "B"}
    assert moved.equals(shuffle_labels(labels, 0))
    assert not moved.equals(shuffle_labels(labels, 1))


def test_an_instance_that_fits_nowhere_else_stays():
    labels = build_residue_labels(label_table([("A", 1, 50, "x", "span")]), ["A", "B"], [50, 3])
    assert shuffle_labels(labels, 0).row(0)[:3] == ("A", 1, 50)
