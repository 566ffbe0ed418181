import numpy as np
import polars as pl
import pytest
from conftest_concepts import make_world
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import planted
from scipy.sparse import csr_array

from plmsae.concepts.association.bootstrap import draw_proteins
from plmsae.concepts.association.counts import associate
from plmsae.concepts.association.selection import confirmed_pairs
from plmsae.concepts.baselines import comparison
from plmsae.concepts.baselines.comparison import count_detected
from plmsae.concepts.baselines.headline import (
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
    """The counts of the association step for everything, and pairs confirmed on both."""
    highest = max_activations([world.latents[i] for i in select[0]], 6)
    tables = [
        associate([world.latents[i] for i in index], labels, highest)
        for index, labels in (select, report)
    ]
    pairs = confirmed_pairs(*tables, above=0.5)
    return len(np.unique(pairs[:, 1])), sorted({select[1].concepts[c] for c in pairs[:, 0]})


@given(seed=st.integers(0, 10**6), room=st.sampled_from([1, 500, 2**30]))
@settings(max_examples=25, deadline=None)
def test_a_method_finds_what_counting_everything_finds(seed, room):
    world = make_world(seed, n_proteins=10, n_concepts=3, density=0.6)
    select, report = halves(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "_ROWS", 20)
        patch.setattr(comparison, "_PAIRS", 2)
        found = count_detected("x", lambda i: world.latents[i], select, report, 6, room=room)
    n_features, concepts = slow_found(world, select, report)
    assert (found.n_features, list(found.concepts)) == (n_features, concepts)


def test_a_sample_counts_as_the_proteins_it_holds():
    world = make_world(11, n_proteins=16, n_concepts=3, density=0.6)
    select, report = halves(world)
    weight = np.array([[0, 2, 1, 0, 3, 1, 0, 1], [1, 1, 1, 1, 1, 1, 1, 1]], dtype=np.float32).T
    found = count_detected("x", lambda i: world.latents[i], select, report, 6, weight_PB=weight)
    repeated = np.repeat(report[0], weight[:, 0].astype(int))
    copies = [f"{world.accessions[i]}_{n}" for n, i in enumerate(repeated)]
    rows = [
        world.table.filter(pl.col("accession") == world.accessions[i]).with_columns(
            pl.lit(name).alias("accession")
        )
        for name, i in zip(copies, repeated, strict=True)
    ]
    all_labels = build_residue_labels(
        pl.concat([world.table, *rows]),
        [*world.accessions, *copies],
        world.lengths + [world.lengths[i] for i in repeated],
    )
    world.latents = world.latents + [world.latents[i] for i in repeated]
    proteins = np.arange(16, len(world.latents))
    sample = (proteins, all_labels.take(proteins))
    select = (select[0], all_labels.take(select[0]))
    n_features, concepts = slow_found(world, select, sample)
    assert found.n_features_B.tolist() == [n_features, found.n_features]
    assert found.n_concepts_B.tolist() == [len(concepts), len(found.concepts)]


def table_of(n_proteins, *, draws=300):
    """The planted latents, and the same ones firing ever more often elsewhere: F1 from 1 to 0.4."""
    world = planted(n_proteins=n_proteins, n_concepts=12, n_dense=2)
    select, report = world.both()
    rng = np.random.default_rng(0)
    share = np.append(np.linspace(0.1, 0.3, 12), [0, 0])
    blurred = [np.maximum(t, 3 * (rng.random(t.shape) < share)) for t in world.truth]
    weight = draw_proteins(np.arange(len(report[0])), draws, 1)
    methods = {
        "sae": [csr_array(t) for t in world.truth],
        "neuron": [csr_array(t.astype(np.float32)) for t in blurred],
    }
    return headline_table(
        [
            count_detected(name, arrays.__getitem__, select, report, 14, weight_PB=weight)
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
    weight = draw_proteins(np.arange(20), 100, 0)
    rng = np.random.default_rng(0)
    arrays = [
        csr_array(np.maximum(t, 3 * (rng.random(t.shape) < 0.2)).astype(np.float32))
        for t in world.truth
    ]
    width = world.truth[0].shape[1]
    twice = [
        count_detected(name, arrays.__getitem__, select, report, width, weight_PB=weight)
        for name in ("sae", "copy")
    ]
    row = headline_table(twice).row(1, named=True)
    assert (row["ahead_features_low"], row["ahead_features_high"]) == (0, 0)
    assert twice[0].n_features_B.std() > 0


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
        count_detected("x", arrays.__getitem__, select, report, width, weight_PB=weight)
        for weight in (draw_proteins(np.arange(6), 5, 0), draw_proteins(np.arange(6), 4, 0))
    ]
    with pytest.raises(InputError, match="resampled differently"):
        headline_table(pair)


def test_weights_of_other_proteins_are_refused():
    world = planted(n_proteins=12)
    select, report = world.both()
    arrays = [csr_array(t) for t in world.truth]
    with pytest.raises(InputError, match="weights of 5 proteins"):
        count_detected(
            "x", arrays.__getitem__, select, report, 30, weight_PB=np.ones((5, 2), np.float32)
        )


def test_no_methods_make_an_empty_table():
    table = headline_table([])
    assert table.height == 0
    assert headline_lines(table) == []
    assert headline_metrics(table) == {}
