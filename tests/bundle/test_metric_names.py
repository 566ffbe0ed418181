"""Every metric that a model carries is explained, and stands in a group."""

from __future__ import annotations

import pytest

from plmsae.bundle.metric_names import (
    GROUPS,
    HEADLINE,
    charted,
    grouped,
    metric_name,
    metric_value,
    number,
)


@pytest.mark.parametrize(
    ("name", "group", "meaning"),
    [
        ("kl", "fidelity", "in nats"),
        ("report_kl_unmasked", "fidelity", "on the proteins reported on"),
        ("neuron_concepts_f1_50", "baselines", "the PLM's own neurons: concepts found"),
        ("sae_shuffled_labels_features_f1_50", "baselines", "labels shuffled"),
        ("sae_ahead_of_neuron_concepts_low", "baselines", "lower end of the 95 % interval"),
        ("identity_none_precision", "calls", "without a homologue"),
        ("n_features_family_specific", "features", "family specific"),
        ("n_features_shared", "concepts", "several concepts"),
        ("held_out_fvu", "reconstruction", "held out of training"),
    ],
)
def test_a_metric_is_explained(name, group, meaning):
    found = metric_name(name)
    assert found.group == group
    assert meaning in found.meaning


def test_an_unknown_metric_stands_last_without_a_meaning():
    assert metric_name("novel").meaning == ""
    assert list(grouped(["novel", "kl", "n_concepts"])) == ["concepts", "fidelity", "other"]


def test_the_charts_of_mlflow_gather_metrics_by_group():
    assert charted({"held_out_fvu": 0.1, "lr": 1.0, "novel": 2.0}, "L4/") == {
        **{"reconstruction/L4/held_out_fvu": 0.1, "training/L4/lr": 1.0, "other/L4/novel": 2.0}
    }


def test_the_headline_metrics_are_known_and_come_first_in_their_group():
    assert all(metric_name(name).group != "other" for name in HEADLINE)
    names = [m.name for m in grouped(["n_concepts_any_f1_50", "n_concepts"])["concepts"]]
    assert names == ["n_concepts", "n_concepts_any_f1_50"]
    assert set(grouped(HEADLINE)) <= set(GROUPS)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (1.0, "1"), (25.0, "25"), (11119.0, "11,119"), (0.954, "0.95"),
     (34.5456, "34.55"), (0.01234, "0.012"), (-4.0, "-4"), (12345.6, "12,346")],
)  # fmt: skip
def test_counts_are_whole_numbers_and_shares_have_two_digits(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("sae_features_f1_50_high", 204.700009, "205"), ("sae_features_f1_50_low", 81.0, "81"),
     ("sae_ahead_of_neuron_features_high", 154.8227, "155"), ("n_dead", 10.0, "10"),
     ("identity_0-30_n_calls", 994.0, "994"), ("homologous_pairs_across", 242.0, "242"),
     ("homology_leak", 0.1154, "0.12"), ("probe_size", 20.75, "20.75"), ("l0", 31.5, "31.50"),
     ("mean_concept_f1", 0.1664, "0.17")],
)  # fmt: skip
def test_the_ends_of_the_intervals_of_counts_are_whole_numbers(name, value, shown):
    assert metric_value(name, value) == shown
