import numpy as np
import polars as pl
import pytest
from conftest_concepts import label_table, make_world
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import planted
from scipy.sparse import csr_array

from plmsae.concepts.association.bootstrap import Samples
from plmsae.concepts.association.chance import MARGIN
from plmsae.concepts.association.counts import associate
from plmsae.concepts.association.selection import score_pairs
from plmsae.concepts.association.signed_counts import SignedUnits
from plmsae.concepts.baselines import comparison
from plmsae.concepts.baselines.comparison import count_detected
from plmsae.concepts.baselines.control_latents import signed_units
from plmsae.concepts.baselines.headline import (
    best_f1,
    headline_lines,
    headline_metrics,
    headline_table,
    registered_metrics,
)
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.concepts.latents import max_activations
from plmsae.core.errors import InputError


def halves(world):
    labels = build_residue_labels(world.table, world.accessions, world.lengths)
    select = np.arange(0, len(world.lengths), 2)
    report = np.arange(1, len(world.lengths), 2)
    return (select, labels.take(select)), (report, labels.take(report))


def slow_found(world, select, report):
    """Count everything on both splits; loop over pairs, with the threshold that select chooses."""
    highest = max_activations([world.latents[i] for i in select[0]], 6)
    counted, judged = (
        associate([world.latents[i] for i in index], labels, highest)
        for index, labels in (select, report)
    )
    residues = report[1].residues_C() / report[1].n_rows
    pairs = {}
    for c, f in np.ndindex(len(counted.concepts), 6):
        t = np.arange(5)
        scores = [score_pairs(side, [c] * 5, [f] * 5, t).f1_Q for side in (counted, judged)]
        best = np.nan_to_num(scores[0]).argmax()
        if scores[0][best] > 0.5 and scores[1][best] > 0.5:
            pairs[c, f] = scores[1][best] - 2 * residues[c] / (1 + residues[c])
    return pairs


def counts_of(pairs):
    return len({f for _, f in pairs}), len({c for c, _ in pairs})


def counts_at(found, b):
    return tuple(int(found.counts_B[name][b]) for name in ("n_features", "n_concepts"))


@given(seed=st.integers(0, 10**6), room=st.sampled_from([1, 500, 2**30]))
@settings(max_examples=25, deadline=None)
def test_a_method_finds_what_counting_everything_finds(seed, room):
    world = make_world(seed, n_proteins=10, n_concepts=3, density=0.6)
    select, report = halves(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "_ROWS", 20)
        patch.setattr(comparison, "_PAIRS", 2)
        found = count_detected("x", lambda i: world.latents[i], select, report, 6, room=room)
    pairs = slow_found(world, select, report)
    assert (found.n_features, len(found.concepts)) == counts_of(pairs)
    lift = [(found.pairs["f1_lift"][i]) for i in range(found.pairs.height)]
    assert np.allclose(lift, list(pairs.values()))
    # Without samples the margin alone decides.
    beyond = [pair for pair, value in pairs.items() if value > MARGIN]
    assert tuple(found.counts().values())[2:] == counts_of(beyond)


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_a_concepts_best_f1_is_that_of_the_pair_chosen_on_select(seed, monkeypatch):
    monkeypatch.setattr(comparison, "PROMISING", 0.2)
    world = make_world(seed, n_proteins=10, n_concepts=3, density=0.6)
    select, report = halves(world)
    found = count_detected("m", lambda i: world.latents[i], select, report, 6)
    highest = max_activations([world.latents[i] for i in select[0]], 6)
    counted, judged = (
        associate([world.latents[i] for i in index], labels, highest)
        for index, labels in (select, report)
    )
    best = {}
    for c, name in enumerate(counted.concepts):
        pairs = [
            [float(np.nan_to_num(score_pairs(side, [c], [f], [t]).f1_Q[0])) for side in both]
            for f, t in np.ndindex(6, 5)
            for both in [(counted, judged)]
        ]
        chosen = max(on_select for on_select, _ in pairs)
        if chosen >= 0.2:  # several may be equally good on select
            best[name] = [f1 for on_select, f1 in pairs if on_select == chosen]
    assert best
    table = best_f1([found])
    assert table.columns == ["concept", "f1_m"]
    assert set(table["concept"]) == set(best)
    for name, f1 in table.rows():
        assert any(f1 == pytest.approx(value, abs=1e-6) for value in best[name])


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_a_sample_counts_as_the_proteins_it_holds_and_chooses_anew_on_them(seed, monkeypatch):
    monkeypatch.setattr(comparison, "PROMISING", 0.0)
    world = make_world(seed, n_proteins=16, n_concepts=3, density=0.6)
    # One latent knows a concept, so that there is something to find.
    every = build_residue_labels(world.table, world.accessions, world.lengths)
    mask_N = every.mask_CN().toarray()[1]
    for p in range(16):
        dense = world.latents[p].toarray()
        dense[:, 2] = mask_N[every.offsets_P1[p] : every.offsets_P1[p + 1]]
        dense[:, 3] = np.maximum(dense[:, 3], dense[:, 2])
        world.latents[p] = csr_array(dense)
    select, report = halves(world)
    drawn = np.array([[0, 2, 1, 0, 3, 1, 0, 1], [2, 0, 0, 3, 1, 0, 1, 1]])
    weights = [np.array([row, [1] * 8], dtype=np.float32).T for row in drawn]
    samples = Samples(select_PB=weights[0], report_PB=weights[1])
    found = count_detected("x", lambda i: world.latents[i], select, report, 6, samples=samples)
    # The same proteins, written down as often as they are drawn. The scale is not resampled, so
    # that every protein of select is needed for it.
    scale = max_activations([world.latents[i] for i in select[0]], 6)
    sides = []
    for index, row in zip((select[0], report[0]), drawn, strict=True):
        repeated = np.repeat(index, row)
        copies = [f"{world.accessions[i]}_{n}" for n, i in enumerate(repeated)]
        rows = [
            world.table.filter(pl.col("accession") == world.accessions[i]).with_columns(
                pl.lit(name).alias("accession")
            )
            for name, i in zip(copies, repeated, strict=True)
        ]
        labels = build_residue_labels(
            pl.concat([world.table, *rows]),
            [*world.accessions, *copies],
            world.lengths + [world.lengths[i] for i in repeated],
        ).take(np.arange(16, 16 + len(repeated)))
        sides.append(associate([world.latents[i] for i in repeated], labels, scale))
    pairs = set()
    for c, f in np.ndindex(len(select[1].concepts), 6):
        scores = [score_pairs(side, [c] * 5, [f] * 5, np.arange(5)).f1_Q for side in sides]
        best = np.nan_to_num(scores[0]).argmax()
        if scores[0][best] > 0.5 and scores[1][best] > 0.5:
            pairs.add((c, f))
    assert counts_at(found, 0) == counts_of(pairs)
    assert pairs
    assert counts_at(found, 1) == (found.n_features, len(found.concepts))


@given(seed=st.integers(0, 10**6), room=st.sampled_from([1, 2**30]))
@settings(max_examples=40, deadline=None)
def test_dense_signed_units_are_counted_as_the_same_units_written_down_as_sparse_latents(
    seed, room
):
    world = make_world(seed, n_proteins=10, n_concepts=3, density=0.9)
    rng = np.random.default_rng(seed)
    # Few distinct values, some on a threshold; one unit is silent, one has a single sign.
    signed = [
        (a.toarray() * rng.choice([-1, 1], a.shape)).astype(np.float32) for a in world.latents
    ]
    for x in signed:
        x[:, 0] = np.abs(x[:, 0])
    select, report = halves(world)
    weights = [
        rng.integers(0, 3, (len(side[0]), 4)).astype(np.float32) for side in (select, report)
    ]
    samples = Samples(select_PB=weights[0], report_PB=weights[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "_ROWS", 20)
        patch.setattr(comparison, "_PAIRS", 5)
        patch.setattr(comparison, "PROMISING", 0.1)
        dense, sparse = (
            count_detected("x", source, select, report, 12, samples=samples, room=room)
            for source in (
                SignedUnits(values_of=signed.__getitem__, n_units=6),
                lambda i: signed_units(signed[i]),
            )
        )
    assert dense.counts() == sparse.counts()
    assert dense.concepts == sparse.concepts
    assert dense.pairs.equals(sparse.pairs)
    for name, counts in sparse.counts_B.items():
        assert np.array_equal(dense.counts_B[name], counts)


def test_a_latent_that_fires_everywhere_finds_a_common_concept_but_not_beyond_chance():
    rng = np.random.default_rng(0)
    n, length = 40, 60
    latents, rows = [], []
    for p in range(n):
        dense = np.zeros((length, 4), dtype=np.float32)
        start = int(rng.integers(0, 30))
        rows.append((f"P{p}", start + 1, start + 30, "helix", "span"))
        dense[:, 0] = 1  # always on: precision 0.5, recall 1
        dense[:, 1] = rng.random(length) < 0.6  # at random, and often
        dense[start : start + 30, 2] = 1  # knows it
        latents.append(csr_array(dense))
    labels = build_residue_labels(label_table(rows), [f"P{p}" for p in range(n)], [length] * n)
    sides = [(index, labels.take(index)) for index in (np.arange(0, n, 2), np.arange(1, n, 2))]
    samples = Samples.of(np.arange(20), np.arange(20), 100, 0)
    found = count_detected("x", latents.__getitem__, *sides, 4, samples=samples)
    assert found.n_features == 3
    assert found.n_features_beyond_chance == 1
    row = found.pairs.filter(latent=2).row(0, named=True)
    assert row["beyond_chance"]
    assert row["f1_lift"] == pytest.approx(1 - 2 / 3)
    assert found.pairs.filter(latent=0)["f1_lift"].item() == pytest.approx(0)


def table_of(n_proteins, *, draws=300):
    """The planted latents, and the same ones firing ever more often elsewhere: F1 from 1 to 0.4."""
    world = planted(n_proteins=n_proteins, n_concepts=12, n_dense=2)
    select, report = world.both()
    rng = np.random.default_rng(0)
    share = np.append(np.linspace(0.1, 0.3, 12), [0, 0])
    blurred = [np.maximum(t, 3 * (rng.random(t.shape) < share)) for t in world.truth]
    weight = Samples.of(np.arange(len(select[0])), np.arange(len(report[0])), draws, 1)
    methods = {
        "sae": [csr_array(t) for t in world.truth],
        "neuron": [csr_array(t.astype(np.float32)) for t in blurred],
    }
    return headline_table(
        [
            count_detected(name, arrays.__getitem__, select, report, 14, samples=weight)
            for name, arrays in methods.items()
        ]
    )


def test_intervals_hold_the_count_and_narrow_with_more_proteins():
    few, many = table_of(24), table_of(240)
    for table in (few, many):
        for name in ("n_features", "n_concepts"):
            assert (table[f"{name}_low"] <= table[name]).all()
            assert (table[name] <= table[f"{name}_high"]).all()
    width = [(t["n_features_high"] - t["n_features_low"])[1] for t in (few, many)]
    assert width[1] < width[0]


def test_a_difference_is_paired_not_the_difference_of_two_intervals():
    table = table_of(40)
    sae, neuron = table.to_dicts()
    assert sae["ahead_features"] is None
    assert neuron["ahead_features"] == sae["n_features"] - neuron["n_features"]
    assert neuron["ahead_features_low"] <= neuron["ahead_features"]
    # The same latents against themselves differ by nothing in every sample.
    world = planted(n_proteins=40)
    select, report = world.both()
    weight = Samples.of(np.arange(20), np.arange(20), 100, 0)
    rng = np.random.default_rng(0)
    arrays = [
        csr_array(np.maximum(t, 3 * (rng.random(t.shape) < 0.2)).astype(np.float32))
        for t in world.truth
    ]
    width = world.truth[0].shape[1]
    twice = [
        count_detected(name, arrays.__getitem__, select, report, width, samples=weight)
        for name in ("sae", "copy")
    ]
    row = headline_table(twice).row(1, named=True)
    assert (row["ahead_features_low"], row["ahead_features_high"]) == (0, 0)
    assert twice[0].counts_B["n_features"].std() > 0


def test_without_samples_there_is_no_interval():
    table = table_of(24, draws=0)
    assert table["n_features_low"].null_count() == 2
    metrics = headline_metrics(table)
    assert "sae_features_f1_50" in metrics
    assert "sae_features_f1_50_low" not in metrics
    assert "[" not in "".join(headline_lines(table))


def test_the_table_in_words_and_as_metrics_has_the_same_numbers():
    table = table_of(40)
    row = table.row(1, named=True)
    metrics = headline_metrics(table)
    assert metrics["neuron_concepts_f1_50_high"] == row["n_concepts_high"]
    assert metrics["sae_ahead_of_neuron_features"] == row["ahead_features"]
    assert not any(name.startswith("sae_ahead_of_sae") for name in metrics)
    carried = registered_metrics({**metrics, "pca_features_f1_50_low": 0.0, "kl": 1.0})
    assert {"sae_features_f1_50_low", "sae_ahead_of_neuron_features_low", "kl"} <= set(carried)
    assert not {"neuron_features_f1_50_low", "pca_features_f1_50_low"} & set(carried)
    text = "\n".join(headline_lines(table))
    assert f"{row['n_features']} [" in text
    assert "ahead of the neurons" in text


def test_methods_resampled_differently_are_not_compared():
    world = planted(n_proteins=12)
    select, report = world.both()
    arrays = [csr_array(t) for t in world.truth]
    width = world.truth[0].shape[1]
    pair = [
        count_detected("x", arrays.__getitem__, select, report, width, samples=weight)
        for weight in [Samples.of(np.arange(6), np.arange(6), draws, 0) for draws in (5, 4)]
    ]
    with pytest.raises(InputError, match="resampled differently"):
        headline_table(pair)


def test_weights_of_other_proteins_are_refused():
    world = planted(n_proteins=12)
    select, report = world.both()
    arrays = [csr_array(t) for t in world.truth]
    samples = Samples.of(np.arange(5), np.arange(5), 2, 0)
    with pytest.raises(InputError, match="weights of 5 proteins"):
        count_detected("x", arrays.__getitem__, select, report, 30, samples=samples)


def test_no_methods_make_an_empty_table():
    table = headline_table([])
    assert table.height == 0
    assert headline_lines(table) == []
    assert headline_metrics(table) == {}
