"""Calls by latents that were chosen on other families."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from conftest_concepts import label_table
from scipy.sparse import csr_array

from plmsae.concepts.association.evidence import Split
from plmsae.concepts.calling.call_calibration import calibrators_of, fit_calibrators
from plmsae.concepts.calling.crossfit import FOLDS, crossfit_calls, deal_clusters
from plmsae.concepts.evaluation import evaluate_residue
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.concepts.latents import max_activations
from plmsae.core.errors import InputError

P, F, N_NOISE = 200, 40, 10


@pytest.fixture(scope="module")
def world():
    """Proteins of one row; latent 0 tells "true", nothing tells the noises."""
    rng = np.random.default_rng(0)
    dense = (rng.random((P, F)) * (rng.random((P, F)) < 0.3)).astype(np.float32)
    names = [f"P{i:03d}" for i in range(P)]
    rows = [
        (names[i], 1, 1, f"noise {n}", "site")
        for n in range(N_NOISE)
        for i in rng.choice(P, 40, replace=False)
    ]
    for i in rng.choice(P, 40, replace=False):
        dense[i, 0] = 1.5
        rows.append((names[i], 1, 1, "true", "site"))
    select = Split(
        latents=[csr_array(row[None]) for row in dense],
        labels=build_residue_labels(label_table(rows), names, [1] * P),
        clusters=np.arange(P) // 2,
    )
    return select, dense, max_activations(select.latents, F)


def called(select):
    concepts = list(select.labels.concepts)
    return pl.DataFrame({"concept": concepts, "call_latent": [0] * len(concepts)})


def test_each_fold_is_called_by_what_the_others_chose(world):
    select, _, scale = world
    fold = deal_clusters(select.clusters, 0)
    calls = crossfit_calls(called(select), select, scale, min_precision=0.5)
    labels = select.labels
    # Other labels on the proteins of one fold change nothing there, and much elsewhere.
    other = np.where(fold[labels.start_I] == 0, (labels.concept_I + 1) % labels.n_concepts,
                     labels.concept_I)  # fmt: skip
    changed = replace(select, labels=replace(labels, concept_I=other))
    again = crossfit_calls(called(select), changed, scale, min_precision=0.5)
    held = pl.Series(np.flatnonzero(fold == 0))
    for kept, same in ((pl.col("protein").is_in(held.implode()), True),
                       (~pl.col("protein").is_in(held.implode()), False)):  # fmt: skip
        assert calls.filter(kept).equals(again.filter(kept)) is same


def test_a_concept_without_a_latent_is_not_called(world):
    select, _, scale = world
    some = called(select).with_columns(
        pl.when(pl.col("concept") == "true").then("call_latent").alias("call_latent")
    )
    calls = crossfit_calls(some, select, scale, min_precision=0.5)
    assert calls["concept"].unique().to_list() == ["true"]


def test_noise_is_promised_its_base_rate_and_more_without_folds(world):
    select, _, scale = world
    twice = np.concatenate([np.full(P, "select"), np.full(P, "report")])
    names = [*select.labels.accessions, *(f"Q{i:03d}" for i in range(P))]
    labels = label_table(
        [
            (prefix + select.labels.accessions[i][1:], 1, 1, select.labels.concepts[c], "site")
            for prefix in "PQ"
            for i, c in zip(select.labels.start_I, select.labels.concept_I, strict=True)
        ]
    )
    evaluation = evaluate_residue([*select.latents, *select.latents], names, labels, twice)
    naive = fit_calibrators(evaluation.concepts, {}, select, scale)
    calls = crossfit_calls(called(select), select, scale, min_precision=0.5)
    honest = calibrators_of(calls, select)

    def promised(calibrators):
        scores = dict(calls.group_by("concept").agg("score").iter_rows())
        return np.mean([calibrators[n](scores[n]).mean() for n in scores if n != "true"])

    assert promised(honest) == pytest.approx(40 / P, abs=0.05)
    assert promised(naive) > promised(honest) + 0.05
    assert honest["true"](1.0) > 0.9


def test_a_concept_that_speaks_is_called_by_the_latent_tuned_for_precision(world):
    select, _, scale = world
    calls = crossfit_calls(called(select), select, scale, min_precision=0.5)
    assert calls.filter(concept="true")["latent"].unique().to_list() == [0]
    assert calls.filter(concept="true").height == 40


def test_families_stay_whole_and_folds_are_even():
    clusters = np.repeat(np.arange(30), np.random.default_rng(1).integers(1, 9, 30))
    fold = deal_clusters(clusters, 0)
    assert all(len(set(fold[clusters == c])) == 1 for c in range(30))
    sizes = np.bincount(fold, minlength=FOLDS)
    assert sizes.max() - sizes.min() <= 8
    assert not np.array_equal(fold, deal_clusters(clusters, 1))


def test_three_families_make_three_folds_and_one_is_refused(world):
    select, _, scale = world
    few = Split(latents=select.latents, labels=select.labels, clusters=np.arange(P) % 3)
    calls = crossfit_calls(called(few), few, scale, min_precision=0.5)
    assert set(calls["protein"].to_numpy() % 3) == {0, 1, 2}
    one = Split(latents=select.latents, labels=select.labels, clusters=np.zeros(P, dtype=int))
    with pytest.raises(InputError, match="one homology cluster"):
        crossfit_calls(called(one), one, scale, min_precision=0.5)
