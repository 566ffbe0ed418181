"""Probe or latent, on planted proteins: where two latents are needed, and where one is enough."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from conftest_concepts import label_table
from scipy.sparse import csr_array

from plmsae.concepts.association.evidence import Split
from plmsae.concepts.baselines.probe_baseline import compare_probes
from plmsae.concepts.calling.calibrators import Calibrator
from plmsae.concepts.calling.call_calibration import fit_calibrators, judge
from plmsae.concepts.calling.caller_selection import choose_callers, inner_folds, join, take
from plmsae.concepts.calling.callers import (
    BY_LATENT,
    BY_PROBE,
    Caller,
    Callers,
    can_call,
    with_caller,
)
from plmsae.concepts.calling.threshold_tuning import registered_concepts
from plmsae.concepts.evaluation import Settings, evaluate_residue
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.concepts.latents import stack_rows
from plmsae.core.errors import InputError

N, LENGTH, F = 640, 60, 12


@pytest.fixture(scope="module")
def world():
    """ "both" is where latents 1 and 2 fire together, each often fires alone; "one" is latent 0."""
    rng = np.random.default_rng(0)
    latents, rows = [], []
    accessions = [f"P{i:03d}" for i in range(N)]
    for accession in accessions:
        dense = rng.random((LENGTH, F)) * (rng.random((LENGTH, F)) < 0.05)
        dense[:, :3] = 0
        at = rng.permutation(np.arange(2, 54, 13))
        dense[at[0] : at[0] + 4, 0] = rng.uniform(0.3, 1)
        rows.append((accession, int(at[0]) + 1, int(at[0]) + 4, "one", "span"))
        for place, which in ((at[1], [1, 2]), (at[2], [1]), (at[3], [2])):
            dense[place : place + 6, which] = rng.uniform(0.5, 1, (6, len(which)))
        if rng.random() < 0.8:
            rows.append((accession, int(at[1]) + 1, int(at[1]) + 6, "both", "span"))
        latents.append(csr_array(dense.astype(np.float32)))
    half = np.where(np.arange(N) < N // 2, "select", "report")
    table = label_table(rows)
    evaluation = evaluate_residue(latents, accessions, table, half, Settings(min_precision=0.6),
                                  clusters=np.arange(N) // 2)  # fmt: skip
    labels = build_residue_labels(table, accessions, [LENGTH] * N)
    whole = Split(latents=latents, labels=labels, clusters=np.arange(N) // 2)
    select, report = (take(whole, np.flatnonzero(half == name)) for name in ("select", "report"))
    scale = evaluation.features["max_activation"].to_numpy().astype(np.float32)
    fold = inner_folds(select.clusters, 0)
    choice = choose_callers(select, report, scale, evaluation.concepts, evaluation.annotator, fold,
                            min_precision=0.6)  # fmt: skip
    return select, report, scale, evaluation, fold, choice


def test_the_probe_wins_where_two_latents_are_needed_and_only_there(world):
    *_, evaluation, _, choice = world
    both, one = choice.annotator.sort("concept").rows(named=True)
    assert (both["concept"], both["caller"], both["call_latent"]) == ("both", BY_PROBE, None)
    assert both["abstains"] is None
    assert both["call_precision"] > 0.7
    assert evaluation.annotator.frame.filter(concept="both")["abstains"].item() is not None
    assert (one["caller"], one["call_latent"]) == (BY_LATENT, 0)
    assert set(choice.probes) == {"both"}
    assert {1, 2} <= set(choice.probes["both"].latents)
    row = choice.comparison.filter(concept="both").row(0, named=True)
    assert row["probe_f1"] > row["latent_f1"]


def test_report_proteins_have_no_say_in_the_choice(world):
    select, report, scale, evaluation, fold, choice = world
    wrong = replace(report, latents=list(reversed(report.latents)))
    other = choose_callers(select, wrong, scale, evaluation.concepts, evaluation.annotator, fold,
                           min_precision=0.6)  # fmt: skip
    assert other.probes == choice.probes
    chosen = ["concept", "caller", "call_threshold", "min_length", "max_gap", "select_low"]
    assert other.annotator.select(chosen).equals(choice.annotator.select(chosen))
    assert not other.annotator["call_precision"].equals(choice.annotator["call_precision"])


def test_no_family_is_in_two_folds(world):
    select, *_, fold, _ = world
    for name in ("fit", "tune", "held"):
        inside = set(select.clusters[fold == name])
        assert inside
        assert not inside & set(select.clusters[fold != name])


def registered(world):
    *_, evaluation, _, choice = world
    return registered_concepts(evaluation.concepts, choice.annotator, 0.6)


def test_the_registered_table_says_who_calls_and_calls_as_was_measured(world):
    _, report, scale, *_, choice = world
    table = registered(world)
    assert dict(table.select("concept", "caller").iter_rows()) == {"both": "probe", "one": "latent"}
    assert table.filter(concept="both")["call_latent"].item() is None
    assert table.filter(concept="both")["best_latent"].item() in (1, 2)
    assert with_caller(table).select(can_call().all()).item()
    caller = Caller(table, Callers(probes=choice.probes), scale)
    calls = caller.calls_of(report.latents)
    counts = dict(calls.group_by("concept").len().iter_rows())
    assert counts == dict(table.select("concept", "n_calls").iter_rows())


def test_a_probe_s_call_names_its_latents(world):
    _, report, scale, *_, choice = world
    table = registered(world)
    constant = Calibrator(method="platt", x=(0.0, 0.0))
    callers = Callers(probes=choice.probes, calibrators={"one": constant})
    caller = Caller(table, callers, scale)
    stacked, offsets = stack_rows(report.latents), np.arange(len(report.latents) + 1) * LENGTH
    calls = caller.explain(caller.calls(stacked, offsets), stacked, offsets)
    probe = calls.filter(concept="both")
    assert (probe["latent"] == F).all()
    assert all(set(c[:2]) == {1, 2} for c in probe["contributors"].head(50).to_list())
    assert probe["probability"].null_count() == probe.height
    single = calls.filter(concept="one")
    assert single["contributors"].null_count() == single.height
    assert single["probability"].unique().to_list() == [0.5]


def test_calls_do_not_depend_on_the_batch(world):
    _, report, scale, *_, choice = world
    caller = Caller(registered(world), Callers(probes=choice.probes), scale)
    whole = caller.calls_of(report.latents)
    one_by_one = [
        caller.calls(array, [0, LENGTH]).with_columns(pl.lit(i, pl.Int64).alias("protein"))
        for i, array in enumerate(report.latents[:40])
    ]
    assert pl.concat(one_by_one).equals(whole.filter(pl.col("protein") < 40))


def test_probabilities_hold_on_report_and_rise_with_the_score(world):
    select, report, scale, _, fold, choice = world
    table = registered(world)
    held = take(select, np.flatnonzero(fold != "fit"))
    calibrators = fit_calibrators(table, choice.probes, held, scale)
    assert set(calibrators) == {"one", "both"}
    for calibrator in calibrators.values():
        assert (np.diff(calibrator(np.linspace(0, 1, 50))) >= 0).all()
    found = judge(table, Callers(probes=choice.probes, calibrators=calibrators), report, scale)
    assert found.n_calls == table["n_calls"].sum()
    assert found.ece < 0.08
    assert (found.curve["low"] <= found.curve["frequency"]).all()


def test_raw_probes_stand_beside_on_the_same_proteins(world):
    select, report, scale, evaluation, fold, _ = world
    mix = np.linalg.qr(np.random.default_rng(0).normal(size=(F, F)))[0]
    folds = {"report": report}
    folds |= {name: take(select, np.flatnonzero(fold == name)) for name in ("fit", "tune")}
    states = {name: [array.toarray() @ mix for array in split.latents]
              for name, split in folds.items()}  # fmt: skip
    table = compare_probes(folds, states, scale, evaluation.concepts, [0, 1])
    both = table.filter(concept="both").row(0, named=True)
    assert both["probe_ap"] > both["latent_ap"] + 0.1
    assert both["raw_probe_ap"] > 0.2
    assert both["raw_probe_size"] > both["probe_size"]


def test_without_enough_instances_there_is_no_probe(world):
    select, report, scale, evaluation, fold, _ = world
    none = np.where(fold == "tune", "fit", fold)
    choice = choose_callers(select, report, scale, evaluation.concepts, evaluation.annotator, none,
                            min_precision=0.6)  # fmt: skip
    assert choice.probes == {}
    assert choice.annotator["caller"].unique().to_list() == [BY_LATENT]
    assert choice.comparison.height == 0


def test_folds_joined_are_the_proteins_under_one_another(world):
    select, *_ = world
    index = np.arange(len(select.latents))
    again = join(take(select, index[:50]), take(select, index[50:]))
    assert again.labels.accessions == select.labels.accessions
    assert np.array_equal(again.labels.start_I, select.labels.start_I)
    assert np.array_equal(again.labels.concept_I, select.labels.concept_I)
    with pytest.raises(InputError, match="different concepts"):
        join(select, replace(select, labels=select.labels.keep_concepts(np.array([True, False]))))


def test_a_missing_probe_is_one_clear_line(world):
    _, _, scale, *_ = world
    with pytest.raises(InputError, match=r"both: the probe .* is missing"):
        Caller(registered(world), Callers(), scale)


@pytest.mark.parametrize(
    "stored",
    [{}, {"probes": [], "calibrators": {}}, {"probes": {"a": 3}, "calibrators": {}},
     {"probes": {}, "calibrators": {"a": {"method": "platt", "x": [-1.0, 0.0], "y": []}}}],
)  # fmt: skip
def test_what_is_no_store_of_callers_is_refused(stored):
    with pytest.raises(InputError):
        Callers.from_json(stored, 12)
