import numpy as np
import polars as pl
import pytest
from conftest_concepts import label_table
from scipy.sparse import csr_array

from plmsae.concepts.baselines.control_latents import shuffle_labels
from plmsae.concepts.calling.calls import call_spans
from plmsae.concepts.columns import CONCEPT_COLUMNS, FEATURE_COLUMNS, needed
from plmsae.concepts.evaluation import COUNTED, Settings, evaluate_residue
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.concepts.latents import stack_rows
from plmsae.core.errors import InputError

LENGTH = 60


@pytest.fixture(scope="module")
def planted():
    """Latent 0 fires on helix spans, 1 on sites, 2 anywhere, 3 never; 40 proteins, 20 clusters."""
    rng = np.random.default_rng(3)
    latents, rows, accessions = [], [], [f"P{i:02d}" for i in range(40)]
    for accession in accessions:
        dense = np.zeros((LENGTH, 4), dtype=np.float32)
        start = int(rng.integers(1, 30))
        rows.append((accession, start, start + 19, "helix", "span"))
        dense[start - 1 : start + 19, 0] = rng.uniform(40, 80, 20)
        dense[start + 5, 0] = 0  # a gap
        site = int(rng.integers(52, 60))
        rows.append((accession, site, site, "site", "site"))
        dense[site - 1, 1] = rng.uniform(0.5, 0.9)
        dense[:, 1] += (rng.random(LENGTH) < 0.2) * 0.2
        dense[:, 2] = rng.random(LENGTH) < 0.1
        latents.append(csr_array(dense))
    rows += [("P00", 1, 3, "rare", "span")]
    split = np.repeat(["select", "report"], 20)
    clusters = np.arange(40) // 2
    return latents, accessions, label_table(rows), split, clusters


@pytest.fixture(scope="module")
def evaluation(planted):
    latents, accessions, table, split, clusters = planted
    return evaluate_residue(latents, accessions, table, split, clusters=clusters)


def test_the_frames_have_the_columns_of_the_bundle(evaluation):
    assert evaluation.features.columns == needed(FEATURE_COLUMNS)
    assert evaluation.concepts.columns == [*needed(CONCEPT_COLUMNS), *COUNTED]
    calls = evaluation.concepts
    assert (calls["true_calls"] + calls["false_calls"] == calls["n_calls"]).all()
    assert (calls["missed_instances"] <= calls["n_instances"]).all()


def test_planted_features_are_found(evaluation):
    concepts = {row["concept"]: row for row in evaluation.concepts.iter_rows(named=True)}
    helix, site = concepts["helix"], concepts["site"]
    assert (helix["best_latent"], site["best_latent"]) == (0, 1)
    assert helix["precision_residue"] == 1.0
    assert helix["recall"] == 1.0
    assert helix["n_instances"] == helix["n_proteins"] == helix["n_calls"] == 20
    assert helix["call_precision"] == 1.0
    assert helix["max_gap"] >= 1
    assert site["best_threshold"] >= 0.15  # below it, noise fires
    assert site["f1"] > 0.9
    assert evaluation.summary["n_features_f1_50"] == 2
    assert evaluation.summary["n_concepts_f1_50"] == 2


def test_every_latent_has_a_row_and_a_dead_one_has_nulls(evaluation):
    assert evaluation.features["latent"].to_list() == [0, 1, 2, 3]
    dead = evaluation.features.row(3, named=True)
    assert dead["dead"]
    assert (dead["density"], dead["max_activation"]) == (0.0, 0.0)
    assert dead["concept"] is dead["threshold"] is dead["f1_select"] is dead["f1"] is None


def test_a_latent_that_fires_only_on_report_proteins_is_not_counted_as_dead(planted):
    latents, accessions, table, split, clusters = planted
    silenced = []
    for array, side in zip(latents, split, strict=True):
        dense = array.toarray()
        dense[:, 2] *= side == "report"
        silenced.append(csr_array(dense))
    found = evaluate_residue(silenced, accessions, table, split, clusters=clusters)
    assert found.features["dead"].to_list() == [False, False, True, True]  # it has no scale
    assert (found.summary["n_dead"], found.summary["dead_share"]) == (1, 0.25)


def test_concepts_too_rare_are_listed_with_their_counts(evaluation):
    assert evaluation.skipped.rows() == [("rare", 1, 0)]


def test_homologues_weigh_in_the_precision_interval(planted, evaluation):
    latents, accessions, table, split, _ = planted
    alone = evaluate_residue(latents, accessions, table, split)
    assert evaluation.concepts["call_precision_low"][0] < alone.concepts["call_precision_low"][0]
    assert evaluation.concepts["call_precision"].equals(alone.concepts["call_precision"])


def test_calls_made_later_from_the_frames_are_the_calls_that_were_calibrated(planted, evaluation):
    latents, *_ = planted
    scale = evaluation.features["max_activation"].to_numpy()
    again = call_spans(stack_rows(latents[20:]), evaluation.concepts, scale,
                       np.arange(21) * LENGTH)  # fmt: skip
    columns = ["start", "end", "concept", "score", "latent"]
    assert again.select(columns).equals(evaluation.calls.select(columns))
    n_right = evaluation.calls.group_by("concept").agg(pl.col("right").mean()).sort("concept")
    assert np.allclose(n_right["right"], evaluation.concepts["call_precision"])


def test_the_report_split_has_no_say_in_the_scale(planted):
    latents, accessions, table, split, clusters = planted
    louder = [a if i < 20 else csr_array(a * np.float32(1.5)) for i, a in enumerate(latents)]
    evaluation = evaluate_residue(louder, accessions, table, split, clusters=clusters)
    assert evaluation.features["max_activation"][0] <= 80


def test_a_cluster_on_both_splits_is_refused(planted):
    latents, accessions, table, split, clusters = planted
    leaking = clusters.copy()
    leaking[39] = leaking[0]
    with pytest.raises(InputError, match=r"1 homology clusters .* split by cluster"):
        evaluate_residue(latents, accessions, table, split, clusters=leaking)


def test_a_protein_cut_short_is_refused(planted):
    latents, accessions, table, split, _ = planted
    lengths = [LENGTH] * 39 + [LENGTH + 5]
    with pytest.raises(InputError, match="P39: activations of 60 residues for a protein of 65"):
        evaluate_residue(latents, accessions, table, split, lengths=lengths)


def test_an_empty_split_is_refused(planted):
    latents, accessions, table, _, _ = planted
    with pytest.raises(InputError, match="no protein is in the split 'report'"):
        evaluate_residue(latents, accessions, table, ["select"] * 40)


def test_splits_too_small_for_any_concept_are_refused(planted):
    latents, accessions, table, split, _ = planted
    with pytest.raises(InputError, match=r"no concept has 500 instances.*20 and 20"):
        evaluate_residue(latents, accessions, table, split, Settings(min_instances=500))


def test_proteins_of_neither_split_are_left_out(planted, evaluation):
    latents, accessions, table, split, clusters = planted
    other = np.concatenate([split, ["test"]])
    more = evaluate_residue(
        [*latents, latents[0]], [*accessions, "Q"], table, other,
        clusters=np.append(clusters, clusters[0]),
    )  # fmt: skip
    assert more.concepts.equals(evaluation.concepts)


def test_the_evidence_says_how_sure_each_pair_is(planted):
    latents, accessions, table, split, clusters = planted
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACDE"), LENGTH)) for _ in accessions]
    evaluation = evaluate_residue(
        latents, accessions, table, split, Settings(bootstrap=200, seed=1),
        clusters=clusters, sequences=sequences,
    )  # fmt: skip
    assert evaluation.evidence["concept"].equals(evaluation.concepts["concept"])
    f1 = evaluation.concepts["f1"]
    assert (evaluation.evidence["f1_low"] <= f1).all()
    assert (evaluation.evidence["f1_high"] >= f1).all()
    assert (evaluation.evidence["q"] < 0.05).all()
    assert (evaluation.evidence["auroc"] > 0.9).all()
    assert evaluation.evidence["n_latents"].to_list() == [1, 1]
    assert (evaluation.evidence["exact_f1"] > 0.9).all()
    assert (evaluation.evidence["auroc_same_residue"] > 0.9).all()
    assert evaluation.summary["n_features_q_05"] == 2


def test_shuffled_labels_have_no_features(planted):
    latents, accessions, table, split, clusters = planted
    labels = build_residue_labels(table, accessions, [LENGTH] * 40)
    shuffled = shuffle_labels(labels, 0, split)
    evaluation = evaluate_residue(latents, accessions, shuffled, split, clusters=clusters)
    assert evaluation.summary["n_features_f1_50"] == 0
    assert evaluation.summary["n_pairs_q_05"] == 0


def test_a_concept_needs_instances_on_the_report_split_too(planted):
    latents, accessions, table, split, _ = planted
    only_one = table.filter((pl.col("concept") != "site") | (pl.col("accession") <= "P20"))
    evaluation = evaluate_residue(latents, accessions, only_one, split)
    assert evaluation.skipped.rows() == [("rare", 1, 0), ("site", 20, 1)]
    kept = evaluate_residue(latents, accessions, only_one, split, Settings(min_report=1))
    assert kept.concepts["concept"].to_list() == ["helix", "site"]
