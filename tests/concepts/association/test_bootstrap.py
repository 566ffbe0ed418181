import numpy as np
import pytest
from conftest_concepts import make_world, slow_counts
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.concepts.association.bootstrap import (
    bias_corrected_interval,
    draw_proteins,
    percentile_interval,
)
from plmsae.concepts.association.pairs import count_by_group, count_by_protein, gather_pairs
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.concepts.latents import max_activations


def pairs_of(world):
    labels = build_residue_labels(world.table, world.accessions, world.lengths)
    highest = max_activations(world.latents, 6)
    concept, latent = (i.ravel() for i in np.indices((labels.n_concepts, 6)))
    return labels, highest, gather_pairs(world.latents, labels, concept, latent, highest)


def bootstrap_f1(counts, draws, seed, group=None):
    n_proteins = counts.fires_QG.shape[1]
    group = np.arange(n_proteins) if group is None else group
    return percentile_interval(counts.f1(draw_proteins(group, draws, seed).astype(float)))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_counts_by_group_sum_to_the_plain_counts(seed):
    world = make_world(seed)
    labels, highest, pairs = pairs_of(world)
    group = np.array([0, 1, 0, 2, 1])
    counts = count_by_group(pairs, np.full(pairs.n_pairs, 0.5), group)
    assert counts.fires_QG.shape[1] == 3
    inside, found, fires, residues, instances = slow_counts(world, labels.concepts, highest, [0.5])
    targets = np.where(labels.is_span_C, instances, residues)
    assert np.array_equal(counts.true_positives_QG.sum(axis=1), inside.ravel())
    assert np.array_equal(counts.found_QG.sum(axis=1), found.ravel())
    assert np.array_equal(counts.fires_QG.sum(axis=1), np.tile(fires[:, 0], labels.n_concepts))
    assert np.array_equal(counts.targets_QG.sum(axis=1), np.repeat(targets, 6))


def test_resampling_equals_counting_proteins_that_often():
    world = make_world(5, n_proteins=8)
    _, _, pairs = pairs_of(world)
    counts = count_by_group(pairs, np.full(pairs.n_pairs, 0.15))
    weight = np.array([0, 2, 1, 1, 0, 3, 1, 0.0])
    repeated = np.repeat(np.arange(8), weight.astype(int))
    once = counts.f1(weight[:, None])[:, 0]
    slow = []
    for q in range(pairs.n_pairs):
        tp, fires = counts.true_positives_QG[q][repeated].sum(), counts.fires_QG[q][repeated].sum()
        found, all_ = counts.found_QG[q][repeated].sum(), counts.targets_QG[q][repeated].sum()
        p, r = (tp / fires if fires else 0), (found / all_ if all_ else np.nan)
        slow.append(2 * p * r / (p + r) if p + r > 0 else r * 0)
    assert np.allclose(once, slow, equal_nan=True)


def test_the_interval_holds_the_estimate_and_narrows_with_more_proteins():
    widths = []
    for n_proteins in (10, 200):
        _, _, pairs = pairs_of(make_world(2, n_proteins=n_proteins))
        counts = count_by_group(pairs, np.zeros(pairs.n_pairs))
        low, high = bootstrap_f1(counts, 300, seed=1)
        point = counts.f1()
        known = ~np.isnan(low)
        assert np.all(low[known] <= high[known])
        assert np.mean((low <= point + 1e-9)[known] & (point <= high + 1e-9)[known]) > 0.9
        widths.append(np.mean((high - low)[known]))
    assert widths[1] < widths[0]


def test_families_drawn_together_widen_the_interval():
    world = make_world(4, n_proteins=12)
    # Every protein four times: 48 proteins, but only 12 families.
    import polars as pl

    copies = [world.table.with_columns(pl.col("accession") + f"_{k}") for k in range(4)]
    world.table = pl.concat(copies)
    world.accessions = [f"{a}_{k}" for k in range(4) for a in world.accessions]
    world.latents, world.lengths = world.latents * 4, world.lengths * 4
    _, _, pairs = pairs_of(world)
    threshold = np.zeros(pairs.n_pairs)
    alone = bootstrap_f1(count_by_group(pairs, threshold), 400, seed=0)
    together = bootstrap_f1(count_by_group(pairs, threshold), 400, 0, np.arange(48) % 12)
    assert np.nanmean(together[1] - together[0]) > 1.5 * np.nanmean(alone[1] - alone[0])


def test_equal_seeds_give_equal_intervals():
    _, _, pairs = pairs_of(make_world(2))
    counts = count_by_group(pairs, np.zeros(pairs.n_pairs))
    again = bootstrap_f1(counts, 50, seed=3)
    assert np.array_equal(bootstrap_f1(counts, 50, seed=3), again, equal_nan=True)


def test_a_concept_in_no_sample_has_no_interval():
    _, _, pairs = pairs_of(make_world(2))
    counts = count_by_group(pairs, np.zeros(pairs.n_pairs))
    for samples in (np.zeros((5, 3)), np.zeros((5, 0))):
        low, high = percentile_interval(counts.f1(samples))
        assert np.isnan(low).all()
        assert np.isnan(high).all()


def test_a_cluster_is_drawn_whole():
    weight = draw_proteins([5, 5, 9, 9, 9, 2], 50, seed=0)
    assert weight.shape == (6, 50)
    assert np.array_equal(weight[0], weight[1])
    assert np.array_equal(weight[2], weight[4])
    assert np.all(weight[[0, 2, 5]].sum(axis=0) == 3)  # three clusters are drawn
    assert draw_proteins([1, 2], 0, seed=0).shape == (2, 0)


def test_the_bias_corrected_interval_undoes_a_shift():
    normal = np.random.default_rng(0).normal(10, 1, 4000)
    low, high = bias_corrected_interval(10, normal)
    assert low == pytest.approx(10 - 1.96, abs=0.15)
    assert high == pytest.approx(10 + 1.96, abs=0.15)
    # Samples one standard deviation below what they stand for: both ends move up by two.
    low, high = bias_corrected_interval(10, normal - 1)
    assert low == pytest.approx(10 - 0.96, abs=0.15)
    assert high == pytest.approx(10 + 1.96, abs=0.3)  # 2.96 is beyond what few samples show


def test_an_interval_reaches_at_least_to_the_estimate():
    assert bias_corrected_interval(7, np.full(20, 5)) == (5, 7)
    assert bias_corrected_interval(3, np.full(20, 5)) == (3, 5)
    assert np.isnan(bias_corrected_interval(3, [])).all()


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_counts_at_all_thresholds_are_those_at_each(seed):
    _, _, pairs = pairs_of(make_world(seed))
    thresholds = np.array([0, 0.15, 0.5, 0.6, 0.8], dtype=np.float32)
    together = count_by_protein(pairs, thresholds)
    for t, threshold in enumerate(thresholds):
        alone = count_by_group(pairs, np.full(pairs.n_pairs, threshold))
        for name in ("true_positives_QG", "fires_QG", "found_QG", "targets_QG"):
            assert np.array_equal(getattr(together, name)[:, t], getattr(alone, name))
