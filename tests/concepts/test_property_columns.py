import numpy as np
import polars as pl
import pytest
from conftest_concepts import label_table
from scipy.sparse import csr_array

from plmsae.bundle.schema import CONCEPTS_SCHEMA, FEATURES_SCHEMA, conform
from plmsae.concepts import property_columns
from plmsae.concepts.evaluation import Settings, evaluate_residue
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.concepts.property_columns import column_metrics, more_of_concepts, more_of_features

LENGTH = 40


@pytest.fixture(scope="module")
def world():
    """``loop`` is shared by latents 0 and 1, half each; latent 2 fires on every C, where ``bond``
    is on two of three; latent 3 is one family's own; latent 4 is dead."""
    rng = np.random.default_rng(0)
    accessions = [f"P{i:02d}" for i in range(48)]
    clusters = np.arange(48) // 4
    latents, sequences, rows = [], [], []
    for number, accession in enumerate(accessions):
        dense = np.zeros((LENGTH, 5), dtype=np.float32)
        letters = rng.choice(list("ADEFGHIKLMNPQRSTVWY"), LENGTH)
        for start in (1, 21):
            rows.append((accession, start, start + 5, "loop", "span"))
            finder = 0 if start == 1 or number % 2 else 1
            dense[start - 1 : start + 5, finder] = 1
        for place in (10, 12, 31):
            letters[place - 1] = "C"
            dense[place - 1, 2] = 1
        rows += [(accession, place, place, "bond", "site") for place in (10, 12)]
        if number == 0:
            dense[0, 3] = 1  # the scale of a latent is of the select proteins
        if clusters[number] == 7:
            dense[:35, 3] = 1
        latents.append(csr_array(dense))
        sequences.append("".join(letters))
    split = np.repeat(["select", "report"], 24)
    table = label_table(rows)
    evaluation = evaluate_residue(
        latents, accessions, table, split, Settings(bootstrap=20), clusters=clusters,
        sequences=sequences,
    )  # fmt: skip
    labels = build_residue_labels(table, accessions, [LENGTH] * 48).take(np.arange(24, 48))
    return evaluation, latents[24:], labels, clusters[24:]


def test_features_say_of_what_kind_they_are(world):
    evaluation, latents, _, clusters = world
    frame = more_of_features(evaluation, latents, clusters)
    assert frame["pattern"].to_list() == ["short", "short", "point", "rare", "dead"]
    assert frame["family_specific"].to_list() == [False, False, False, True, False]
    assert frame["n_concepts"].to_list()[:3] == [1, 0, 1]
    assert frame["latent"].to_list() == [0, 1, 2, 3, 4]
    conform(frame, FEATURES_SCHEMA, d_sae=5, where="features.parquet")
    assert "family_f1" not in more_of_features(evaluation, latents).columns


def test_concepts_say_how_they_are_split_and_what_the_amino_acid_explains(world):
    evaluation, latents, labels, _ = world
    frame = more_of_concepts(evaluation.concepts, evaluation, latents, labels)
    rows = {row["concept"]: row for row in frame.iter_rows(named=True)}
    assert rows["loop"]["found_by_any"] == pytest.approx(0.75)
    assert rows["loop"]["absorbed"] == 0
    # The "bond" latent is a cysteine latent: no better than calling every cysteine.
    assert rows["bond"]["amino_acid"] == "C"
    assert rows["bond"]["f1"] > 0.5
    assert rows["bond"]["f1_same_residue"] == rows["bond"]["f1_every_residue"]
    assert rows["loop"]["f1_low"] <= rows["loop"]["f1"] <= rows["loop"]["f1_high"]
    conform(frame, CONCEPTS_SCHEMA, d_sae=5, where="concepts.parquet")


def test_a_latent_that_finds_what_the_best_one_misses_absorbs_it(world):
    evaluation, latents, labels, _ = world
    pairs = pl.DataFrame(
        {"concept": ["loop", "loop"], "latent": [0, 1], "threshold": [0.0, 0.0]},
        schema_overrides={"latent": pl.Int32},
    )
    import dataclasses

    both = dataclasses.replace(
        evaluation, detection=dataclasses.replace(evaluation.detection, pairs=pairs)
    )
    frame = more_of_concepts(evaluation.concepts, both, latents, labels)
    row = frame.filter(pl.col("concept") == "loop").row(0, named=True)
    assert row["found_by_any"] == 1
    assert row["absorbed"] == 1


def test_pairs_taken_a_few_at_a_time_say_the_same(world, monkeypatch):
    evaluation, latents, labels, _ = world
    whole = more_of_concepts(evaluation.concepts, evaluation, latents, labels)
    monkeypatch.setattr(property_columns, "_PAIRS", 1)
    assert more_of_concepts(evaluation.concepts, evaluation, latents, labels).equals(whole)


def test_columns_that_are_there_already_stay(world):
    evaluation, latents, labels, _ = world
    concepts = evaluation.concepts.with_columns(pl.lit(7.0).alias("auroc"))
    frame = more_of_concepts(concepts, evaluation, latents, labels)
    assert set(frame["auroc"]) == {7.0}
    assert frame.columns.count("auroc") == 1
    assert frame.height == concepts.height


def test_kinds_are_counted(world):
    evaluation, latents, labels, clusters = world
    features = more_of_features(evaluation, latents, clusters)
    concepts = more_of_concepts(evaluation.concepts, evaluation, latents, labels)
    metrics = column_metrics(features, concepts)
    assert metrics["n_features_point"] == 1
    assert metrics["n_features_family_specific"] == 1
    assert metrics["n_features_shared"] == metrics["n_concepts_split"] == 0
    assert metrics["n_concepts_beyond_residue"] == 1  # loop; bond is explained by its cysteines
