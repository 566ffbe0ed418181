import numpy as np
import polars as pl
import pytest
from conftest_concepts import label_table

from plmsae.concepts.calling.calibration import wilson_interval
from plmsae.concepts.calling.distance import accuracy_by_distance
from plmsae.concepts.calling.matching import match_calls
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.core.errors import InputError


def test_calls_and_labels_are_counted_in_the_bin_of_their_protein():
    rows = [(name, 3, 8, "x", "span") for name in "ABCD"]
    labels = build_residue_labels(label_table(rows), list("ABCDE"), [20] * 5)
    calls = pl.DataFrame(
        {"protein": [0, 0, 1, 3, 4], "start": [4, 15, 1, 7, 1], "end": [5, 18, 2, 9, 2]}
    ).with_columns(concept=pl.lit("x"))
    table = accuracy_by_distance(
        calls["protein"], match_calls(calls, labels), labels, [0.0, 0.2, 0.3, 0.3, 1.0]
    )
    counted = table.select("bin", "n_proteins", "n_calls", "n_right", "n_instances", "n_found")
    assert counted.rows() == [
        ("none", 1, 2, 1, 1, 1),
        ("0-30", 1, 1, 0, 1, 0),
        ("30-40", 2, 1, 1, 2, 1),
        ("70-100", 1, 1, 0, 0, 0),
    ]
    assert table["precision"].to_list() == [0.5, 0.0, 1.0, 0.0]
    assert table["recall"].to_list() == [1.0, 0.0, 0.5, None]
    assert table["precision_low"][0] < 0.5 < table["precision_high"][0]


def test_every_protein_needs_its_identity():
    labels = build_residue_labels(label_table([("A", 1, 2, "x", "span")]), ["A"], [5])
    none = pl.DataFrame(schema={"protein": pl.Int64, "start": pl.Int64, "end": pl.Int64,
                                "concept": pl.String})  # fmt: skip
    with pytest.raises(InputError, match="2 identities for 1 proteins"):
        accuracy_by_distance(np.zeros(0), match_calls(none, labels), labels, [0.1, 0.2])


def test_intervals_count_families_and_the_estimates_do_not_change():
    rng = np.random.default_rng(0)
    names = [f"P{i:02d}" for i in range(60)]
    labelled = [name for name in names if rng.random() < 0.7]
    labels = build_residue_labels(
        label_table([(name, 1, 5, "x", "span") for name in labelled]), names, [20] * 60
    )
    protein = np.sort(rng.integers(0, 60, 90))
    calls = pl.DataFrame({"protein": protein, "start": 1 + 6 * (np.arange(90) % 3)})
    calls = calls.unique(maintain_order=True).with_columns(
        end=pl.col("start") + 2, concept=pl.lit("x")
    )
    matches = match_calls(calls, labels)
    identity = rng.choice([0.0, 0.35, 0.9], 60)
    clusters = rng.integers(0, 8, 60)
    arguments = (calls["protein"], matches, labels, identity)
    apart = accuracy_by_distance(*arguments)
    table = accuracy_by_distance(*arguments, clusters_P=clusters)
    same = [name for name in table.columns if name not in ("precision_low", "precision_high")]
    assert table.select(same).equals(apart.select(same))
    for row, at, loose in zip(table.to_dicts(), (0.0, 0.35, 0.9), apart.to_dicts(), strict=True):
        sizes: dict[int, int] = {}
        for p in calls["protein"]:
            if identity[p] == at:
                sizes[clusters[p]] = sizes.get(clusters[p], 0) + 1
        n = sum(sizes.values()) ** 2 / sum(size**2 for size in sizes.values())
        low, high = wilson_interval(row["precision"] * n, n)
        assert row["precision_low"] == pytest.approx(float(low))
        assert row["precision_high"] == pytest.approx(float(high))
        assert row["precision_low"] < loose["precision_low"]
        assert row["precision_high"] > loose["precision_high"]
