"""Substitution, selection and trees, against slow and obvious references."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import expm

from plmsae.proteins.simulate.alphabet import ALPHABET, BACKGROUND, decode
from plmsae.proteins.simulate.evolution import drift, evolve, yule_tree
from plmsae.proteins.simulate.segments import join, linker, pattern_segment
from plmsae.proteins.simulate.substitution import blosum62, rate_matrix, transition


def test_blosum62_is_symmetric_and_holds_its_best_known_scores():
    scores = blosum62()
    assert (scores == scores.T).all()
    at = {letter: index for index, letter in enumerate(ALPHABET)}
    known = {"WW": 11, "CC": 9, "II": 4, "IV": 3, "DE": 2, "WG": -2, "LK": -2, "PF": -4, "FY": 3}
    assert {pair: scores[at[pair[0]], at[pair[1]]] for pair in known} == known


def test_the_rate_matrix_is_reversible_in_the_background_and_scaled_to_one_change():
    rates = rate_matrix()
    np.testing.assert_allclose(rates.sum(axis=1), 0, atol=1e-12)
    flow = BACKGROUND[:, None] * rates
    np.testing.assert_allclose(flow, flow.T, atol=1e-12)
    assert -(BACKGROUND * np.diag(rates)).sum() == pytest.approx(1)


@pytest.mark.parametrize("time", [0.0, 0.01, 0.7, 30.0])
def test_transition_equals_the_matrix_exponential(time):
    np.testing.assert_allclose(transition(np.array(time)), expm(rate_matrix() * time), atol=1e-10)


def test_long_evolution_forgets_where_it_began_and_ends_at_the_profile_of_the_site():
    rng = np.random.default_rng(0)
    segment = pattern_segment("[LIVF](4)-G-[KR]", "[LI](4)-G-K", "any", rng)
    wide = join([segment] * 700)
    for _ in range(40):
        wide = drift(wide, 3.0, rng)
    sites = wide.residues.reshape(700, 6)
    for site in range(6):
        seen = np.bincount(sites[:, site], minlength=20) / 700
        np.testing.assert_allclose(seen, segment.profile[site], atol=0.07)


def test_what_a_pattern_forbids_never_happens_along_a_tree():
    rng = np.random.default_rng(1)
    ancestor = join([linker(20, rng), pattern_segment("[AG]-x(4)-G-K-[ST]", "", "any", rng)])
    residues, _ = evolve(ancestor, yule_tree(30, 20.0, rng), 0.1, rng)
    allowed = ancestor.profile[np.arange(len(ancestor)), residues] > 0
    assert allowed.all()


def test_without_time_nothing_changes():
    rng = np.random.default_rng(2)
    ancestor = linker(40, rng)
    residues, present = evolve(ancestor, yule_tree(5, 0.0, rng), 0.5, rng)
    assert (residues == ancestor.residues).all()
    assert (present == ancestor.present).all()


def test_indels_fall_on_slack_columns_only_and_do_fall():
    rng = np.random.default_rng(3)
    ancestor = linker(60, rng)
    ancestor = replace(ancestor, slack=ancestor.slack & (np.arange(len(ancestor)) > 30))
    _, present = evolve(ancestor, yule_tree(20, 3.0, rng), 0.1, rng)
    changed = present != ancestor.present
    assert not changed[:, ~ancestor.slack].any()
    assert (changed & ancestor.present).any()  # deletions
    assert (changed & ~ancestor.present).any()  # insertions


@pytest.mark.parametrize("members", [1, 2, 3, 17])
def test_every_leaf_of_a_tree_lies_at_its_depth(members):
    tree = yule_tree(members, 1.5, np.random.default_rng(members))
    assert len(tree.leaves) == members
    for leaf in tree.leaves:
        depth, node = 0.0, leaf
        while node > 0:
            depth, node = depth + tree.length[node], tree.parent[node]
        assert depth == pytest.approx(1.5)


def test_the_clades_of_two_sisters_split_their_parents():
    tree = yule_tree(12, 1.0, np.random.default_rng(9))
    assert list(tree.clade(0)) == list(range(12))
    one, two = np.flatnonzero(tree.parent == 0)
    assert sorted([*tree.clade(one), *tree.clade(two)]) == list(range(12))


def test_levels_hold_every_node_once_after_its_parent():
    tree = yule_tree(9, 1.0, np.random.default_rng(4))
    seen = {0}
    for level in tree.levels():
        assert {int(tree.parent[node]) for node in level} <= seen
        seen |= {int(node) for node in level}
    assert seen == set(range(len(tree.parent)))


def test_decoding_knows_all_letters():
    assert decode(np.arange(20)) == ALPHABET
