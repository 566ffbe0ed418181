import numpy as np
import polars as pl
import pytest
from conftest_concepts import label_table
from scipy.sparse import csr_array

from plmsae.concepts.association.counts import associate
from plmsae.concepts.association.evidence import Split
from plmsae.concepts.association.selection import select_pairs, top_latents
from plmsae.concepts.calling.calls import call_spans
from plmsae.concepts.calling.threshold_tuning import ANNOTATOR_COLUMNS, tune_annotator
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.concepts.latents import max_activations, stack_rows
from plmsae.core.errors import InputError

N, LENGTH = 240, 50


@pytest.fixture(scope="module")
def splits():
    """Latent 0 fires on every helix, and weakly elsewhere; nothing fires on "odd"."""
    rng = np.random.default_rng(0)
    latents, rows, accessions = [], [], [f"P{i:03d}" for i in range(N)]
    for accession in accessions:
        dense = np.zeros((LENGTH, 3), dtype=np.float32)
        start = int(rng.integers(1, 20))
        rows.append((accession, start, start + 9, "helix", "span"))
        dense[start - 1 : start + 9, 0] = rng.uniform(0.6, 1)
        dense[35:43, 0] = rng.uniform(0.1, 0.5)  # a weak false stretch on every protein
        dense[:, 1] = rng.random(LENGTH) < 0.1
        at = int(rng.integers(1, 40))
        rows.append((accession, at, at + 3, "odd", "span"))
        latents.append(csr_array(dense))
    labels = build_residue_labels(label_table(rows), accessions, [LENGTH] * N)
    half = np.arange(N) < N // 2
    scale = max_activations(latents, 3)
    return [
        Split(latents=[latents[i] for i in np.flatnonzero(side)],
              labels=labels.take(np.flatnonzero(side)), clusters=np.flatnonzero(side))
        for side in (half, ~half)
    ], scale  # fmt: skip


def candidates_of(select, scale, n=2):
    return top_latents(associate(select.latents, select.labels, scale), n)


def test_a_higher_threshold_buys_precision_and_the_rest_abstains(splits):
    (select, report), scale = splits
    frame = tune_annotator(candidates_of(select, scale), select, report, scale).frame
    assert tuple(frame.columns) == ANNOTATOR_COLUMNS
    helix, odd = frame.rows(named=True)
    assert helix["abstains"] is None
    assert helix["call_latent"] == 0
    assert max(helix["call_threshold"], helix["seed_threshold"]) >= 0.3
    assert helix["call_precision_low"] >= 0.9
    assert helix["instances_found"] == 1.0
    assert helix["iou"] > 0.9
    assert odd["select_f1"] < 0.3
    assert odd["abstains"] == "no rule reaches the precision on select proteins"


def test_the_calls_of_the_frame_are_those_that_were_measured(splits):
    (select, report), scale = splits
    frame = tune_annotator(candidates_of(select, scale), select, report, scale).frame
    calls = call_spans(stack_rows(report.latents), frame.filter(pl.col("abstains").is_null()),
                       scale, np.arange(N // 2 + 1) * LENGTH)  # fmt: skip
    assert calls.height == frame.filter(pl.col("abstains").is_null())["n_calls"].sum()


def test_a_few_families_are_not_enough_to_speak(splits):
    (select, report), scale = splits
    few = Split(latents=report.latents, labels=report.labels, clusters=np.arange(N // 2) % 3)
    frame = tune_annotator(candidates_of(select, scale), select, few, scale).frame
    assert frame["call_precision"][0] > 0.95
    assert frame["abstains"][0] == "the precision does not hold on report proteins"


def test_of_thresholds_that_find_the_same_the_surest_is_taken(splits):
    (select, report), scale = splits
    frame = tune_annotator(
        candidates_of(select, scale), select, report, scale, min_precision=0.0
    ).frame
    helix = frame.filter(concept="helix").row(0, named=True)
    assert helix["instances_found"] == 1.0
    assert helix["call_precision"] > 0.95  # and not the half of a threshold of 0


def test_the_best_latents_come_first(splits):
    (select, _), scale = splits
    counts = associate(select.latents, select.labels, scale)
    top = top_latents(counts, 5)
    assert top.shape == (2, 3)
    assert top[:, 0].tolist() == select_pairs(counts).latent_C.tolist()
    assert top[0].tolist() == [0, 1, -1]


def test_a_precision_in_percent_is_refused(splits):
    (select, report), scale = splits
    with pytest.raises(InputError, match=r"share.*'90'"):
        tune_annotator(candidates_of(select, scale), select, report, scale, min_precision=90)


def test_the_registered_table_takes_the_pair_that_makes_calls():
    from plmsae.concepts.calling.threshold_tuning import registered_concepts

    concepts = pl.DataFrame(
        {
            "concept": ["a", "b"],
            "best_latent": [1, 2],
            "best_threshold": [0.5, 0.5],
            "call_latent": [1, 2],
            "call_threshold": [0.5, 0.5],
            "f1": [0.7, 0.6],
            "min_length": [1, 1],
            "max_gap": [0, 0],
            "n_calls": [9, 9],
            "call_precision": [0.3, 0.4],
            "call_precision_low": [0.2, 0.3],
            "call_precision_high": [0.4, 0.5],
            "true_calls": [3, 4],
            "false_calls": [6, 5],
            "missed_instances": [1, 1],
        }
    )
    tuned = concepts.drop("f1", "best_latent", "best_threshold").with_columns(
        call_latent=pl.Series([7, 8]),
        call_threshold=pl.Series([0.9, 0.9]),
        call_precision_low=pl.Series([0.85, 0.1]),
        abstains=pl.Series([None, "the precision does not hold on report proteins"]),
    )
    table = registered_concepts(concepts, tuned, 0.8)
    assert table["call_latent"].to_list() == [7, 8]
    assert table["call_threshold"].to_list() == [0.9, 0.9]
    assert table["call_precision_low"].to_list() == [0.85, 0.1]
    assert table["best_latent"].to_list() == [1, 2]
    assert table["best_threshold"].to_list() == [0.5, 0.5]
    assert table["abstains"].to_list() == [None, "the precision does not hold on report proteins"]
    assert table["abstains_at"].to_list() == [None, 0.8]
    assert table["f1"].to_list() == [0.7, 0.6]
