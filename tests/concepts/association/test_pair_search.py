"""Counting concepts in blocks gives what counting them all at once gives."""

from __future__ import annotations

import numpy as np
import pytest
from conftest_concepts import make_world, residue_pair_q_values
from polars.testing import assert_frame_equal

from plmsae.concepts.association.counts import INTERPLM_THRESHOLDS, associate
from plmsae.concepts.association.pair_search import search_pairs
from plmsae.concepts.association.selection import select_pairs
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.concepts.latents import firing_rates, max_activations


@pytest.fixture(scope="module")
def sides():
    """Activations and labels of two splits of a small random world, its scale and its density."""
    world = make_world(5, n_proteins=60, longest=40)
    labels = build_residue_labels(world.table, world.accessions, world.lengths)
    # One latent that knows a concept, so that there is a pair to confirm.
    latents = [a.toarray() for a in world.latents]
    mask = labels.mask_CN().toarray()
    for p, dense in enumerate(latents):
        dense[:, 2] = mask[1, labels.offsets_P1[p] : labels.offsets_P1[p + 1]]
    latents = [type(a)(dense) for a, dense in zip(world.latents, latents, strict=True)]
    halves = [np.arange(0, 60, 2), np.arange(1, 60, 2)]
    select, report = (([latents[i] for i in half], labels.take(half)) for half in halves)
    n_latents = latents[0].shape[1]
    return select, report, max_activations(select[0], n_latents), firing_rates(latents, n_latents)


def search(sides, room):
    return search_pairs(*sides, INTERPLM_THRESHOLDS, n_candidates=3, room=room)


@pytest.mark.parametrize("concepts_at_a_time", [1, 2])
def test_the_size_of_the_blocks_changes_nothing(sides, concepts_at_a_time):
    whole = search(sides, 2**30)
    parts = search(sides, concepts_at_a_time * 16 * len(sides[2]) * len(INTERPLM_THRESHOLDS))
    assert len(whole.promising_Q2) > 0
    assert_frame_equal(whole.features, parts.features)
    assert_frame_equal(whole.concepts, parts.concepts)
    assert np.array_equal(whole.promising_Q2, parts.promising_Q2)
    assert np.array_equal(whole.candidates_CR, parts.candidates_CR)
    assert np.array_equal(whole.q_C, parts.q_C)
    assert (whole.n_pairs_q_05, whole.n_features_q_05) == (
        parts.n_pairs_q_05,
        parts.n_features_q_05,
    )


def test_q_is_corrected_over_all_pairs_and_not_over_a_block(sides):
    select, report, scale_F, _ = sides
    counted, judged = (associate(latents, labels, scale_F) for latents, labels in (select, report))
    q_CF = residue_pair_q_values(counted, judged)
    latent_C = select_pairs(counted).latent_C
    found = search(sides, 1)
    expected = q_CF[np.arange(len(latent_C)), np.maximum(latent_C, 0)]
    assert np.allclose(found.q_C, np.where(latent_C < 0, 1, expected))
    assert found.n_pairs_q_05 == (q_CF <= 0.05).sum()
    assert found.n_features_q_05 == (q_CF <= 0.05).any(axis=0).sum()
