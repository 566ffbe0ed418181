"""Evaluation from a bundle to its tables, on a small proteome and a tiny PLM."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
from tiny_training import train_tiny

from plmsae.concepts.labels.label_table import concept_counts
from plmsae.core.errors import InputError
from plmsae.core.sketch import SELECT_SKETCH, SIZE, found_in_sketch
from plmsae.proteins.uniprot import read_table
from plmsae.registry import promotion
from plmsae.registry.gates import Gate, GateResult
from plmsae.registry.models import resolve
from plmsae.workflows import evaluate, report
from plmsae.workflows.evaluating.annotated import read_annotated
from plmsae.workflows.evaluating.outcome import EvaluateOutcome, promoted
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import (
    EvaluateRequest,
    ReportRequest,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a proteome, a tiny PLM and an SAE of it, and MLflow in it."""
    folder = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("PLMSAE_CACHE", str(folder / "cache"))
        train_tiny(folder)
        yield folder


def request(folder, name, **changes):
    settings = {
        "model": str(folder / "train" / "L2" / "bundle"),
        "concepts": str(folder / "data" / "annotations.tsv.gz"),
        "out": folder / name,
        "min_instances": 5,
        "random_vectors": 12_800,
        "bootstrap": 50,
        "register": False,
        "device": "cpu",
    }
    return EvaluateRequest(**{**settings, **changes})


@pytest.fixture(scope="module")
def outcome(place):
    return evaluate.run(request(place, "all"), Silent())


METHODS = [
    *("sae", "neuron", "pca", "ica", "random_plm_sae"),
    *("sae_shuffled_labels", "amino_acid", "window_of_3"),
    *("best_hit", "nearest_embedding"),
]


def test_every_baseline_stands_in_one_table(place, outcome):
    table = pl.read_parquet(place / "all" / "baselines.parquet")
    assert table["method"].to_list() == METHODS
    assert table.to_dicts() == outcome.baselines
    rows = {row["method"]: row for row in outcome.baselines}
    assert rows["random_plm_sae"]["n_latents"] == rows["sae"]["n_latents"] == 48
    assert rows["neuron"]["n_latents"] == rows["pca"]["n_latents"] == 32
    assert rows["random_plm_sae"]["note"].startswith("trained on 12,800 residues")
    assert "fitted on" in rows["ica"]["note"]
    text = "\n".join(outcome.lines())
    assert all(name in text for name in METHODS)


def test_the_headline_has_intervals_in_metrics_and_a_figure(place, outcome):
    for method in METHODS:
        for what in ("features", "concepts"):
            low, high = (outcome.summary[f"{method}_{what}_f1_50{e}"] for e in ("_low", "_high"))
            assert low <= outcome.summary[f"{method}_{what}_f1_50"] <= high
    assert "sae_ahead_of_neuron_concepts_low" in outcome.summary
    assert (place / "all" / "baselines.png").read_bytes().startswith(b"\x89PNG")


def test_the_reconstruction_is_measured_on_report_proteins(place, outcome):
    for name in ("loss_recovered", "loss_recovered_mean_unmasked", "explained_variance", "kl"):
        assert f"report_{name}" in outcome.summary
    assert outcome.summary["report_l0"] == pytest.approx(4, abs=0.01)
    for name in ("variance_by_residue.parquet", "variance_by_residue.png"):
        assert (place / "all" / name).stat().st_size > 0
    bundle = resolve(str(outcome.bundle))
    trained = resolve(str(place / "train" / "L2" / "bundle")).meta.metrics
    # What training measured on its own held-out proteins stays beside it.
    assert bundle.meta.metrics["explained_variance"] == trained["explained_variance"]
    json.dumps(outcome.to_json(), allow_nan=False)


def test_the_sae_passed_its_gate_before_it_was_registered(place, outcome):
    found = json.loads((place / "all" / "quality-models" / "validation.json").read_text())
    states = {result["name"]: result["state"] for result in found["results"]}
    assert states["activations_of_the_stored_scale"] == "passed"
    assert states["explains_something"] == "passed"
    assert set(states.values()) <= {"passed", "warning"}
    assert resolve(str(outcome.bundle)).meta.extra["quality_warnings"]


def test_the_registered_tables_say_of_what_kind_things_are(outcome):
    bundle = resolve(str(outcome.bundle))
    assert {"pattern", "n_concepts", "family_specific"} <= set(bundle.features.columns)
    assert {"absorbed", "amino_acid", "f1_same_residue", "f1_low", "q"} <= set(
        bundle.concepts.columns
    )
    assert "shapes of features: " in "\n".join(outcome.lines())
    assert bundle.meta.extra["split"] == outcome.how


def test_a_model_can_tell_the_proteins_on_which_its_concepts_were_chosen(place, outcome):
    meta = resolve(str(outcome.bundle)).meta
    sequences = read_table(place / "data" / "annotations.tsv.gz")["sequence"].to_list()
    assert len(set(sequences)) == len(sequences) < SIZE  # so the sketch holds all of them
    n_found, n_looked_up = found_in_sketch(meta.extra[SELECT_SKETCH], sequences)
    assert n_looked_up == len(sequences)
    assert n_found == len(sequences) - meta.eval_data.n_proteins > 0


def test_concepts_are_counted_and_confirmed_pairs_kept(place, outcome):
    counts = pl.read_parquet(place / "all" / "concept_counts.parquet")
    assert {"n_residues", "n_spans", "n_proteins"} <= set(counts.columns)
    evaluated = int(outcome.summary["n_concepts"] + outcome.summary["n_concepts_skipped"])
    assert counts.height == evaluated
    pairs = pl.read_parquet(place / "all" / "pairs.parquet")
    assert pairs.height == outcome.summary["n_pairs_f1_50"]
    assert f"of {int(outcome.summary['n_concepts'])} concepts common enough" in "\n".join(
        outcome.lines()
    )


def test_numbers_of_an_earlier_evaluation_do_not_stay(place, outcome):
    found = evaluate.run(
        request(place, "again", model=str(outcome.bundle), baselines="none", bootstrap=0), Silent()
    )
    before, after = (resolve(str(o.bundle)).meta.metrics for o in (outcome, found))
    trained = resolve(str(place / "train" / "L2" / "bundle")).meta.metrics
    assert {name: after[name] for name in trained} == trained
    # Nothing that was not measured this time: a gate would hold it against the new numbers.
    assert set(after) <= set(trained) | set(found.summary)
    assert "neuron_concepts_f1_50" in before
    assert "neuron_concepts_f1_50" not in after
    assert not [name for name in after if name.startswith("sae_shuffled_labels_")]


def test_rare_concepts_are_left_out_as_asked_and_before_the_plm_runs(place, monkeypatch):
    monkeypatch.setattr(
        "plmsae.workflows.evaluate.encode_with_states", lambda *_, **__: pytest.fail("too late")
    )
    data = read_annotated(request(place, "x", min_residues=200, min_spans=50), Silent())
    counts = concept_counts(data.labels)
    assert counts.height
    assert counts["n_residues"].min() >= 200
    assert counts["n_spans"].min() >= 50
    for changes, words in (
        ({"min_instances": 10**6}, "no concept has 1000000 instances"),
        ({"min_residues": 10**7}, "no concept has 10000000 labelled residues"),
        ({"report_on": "other.tsv", "proteins": "a.fasta"}, "has no second one"),
    ):
        with pytest.raises(InputError, match=words):
            evaluate.run(request(place, "never", **changes), Silent())
        assert not (place / "never").exists()


def test_fast_baselines_need_no_second_plm(place, monkeypatch):
    monkeypatch.setattr(
        "plmsae.workflows.evaluating.baselines.random_encoder",
        lambda *_: pytest.fail("not asked for"),
    )
    found = evaluate.run(
        request(place, "fast", baselines="fast", bootstrap=0, fidelity_proteins=0), Silent()
    )
    names = [row["method"] for row in found.baselines]
    assert names == ["sae", "neuron", *METHODS[5:]]
    assert found.baselines[0]["n_features_low"] is None


def test_settings_that_cannot_work_are_refused_before_anything_is_read(place):
    for changes, words in (
        ({"baselines": "some"}, "'baselines' must be all or fast or none"),
        ({"random_vectors": 10}, "64 residues"),
        ({"bootstrap": -1}, "--bootstrap: must be at least 0"),
    ):
        with pytest.raises(InputError, match=words):
            evaluate.run(request(place, "x", **changes, model="none"), Silent())


def test_a_gate_that_is_not_met_takes_nothing_of_the_evaluation_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate(metric="n_concepts_f1_50", op=">=", value=1)
    unmet = GateResult(gate=gate, passed=False, expected="n_concepts_f1_50 >= 1", found="0")

    def refuse(ref: str) -> None:
        raise promotion.GatesNotMetError((unmet,))

    monkeypatch.setattr(promotion, "promote", refuse)
    outcome = EvaluateOutcome(
        bundle=Path("b"), model="m/2", how="", summary={}, baselines=[], top_concepts=[],
        callable_concepts=[], promoted=False,
    )  # fmt: skip
    with pytest.raises(promotion.GatesNotMetError) as caught:
        promoted(outcome, "m/2")
    assert caught.value.outcome is outcome


def card_number(card: str, metric: str) -> float:
    return float(re.search(rf"\| ([\d.,]+) \| `{metric}` \|", card)[1].replace(",", ""))


def test_each_headline_quantity_is_one_number_wherever_it_is_shown(place, outcome):
    bundle, lines = resolve(str(outcome.bundle)), outcome.lines()
    pairs = pl.read_parquet(place / "all" / "pairs.parquet")
    (sae,) = [row for row in outcome.baselines if row["method"] == "sae"]
    (console,) = [line for line in lines if line.startswith("  sae  ")]
    for rule, column, table in (
        ("f1_50", "", pairs),
        ("beyond_chance", "_beyond_chance", pairs.filter("beyond_chance")),
    ):
        for what, key, frame, count in (
            ("features", "latent", bundle.features, "n_concepts"),
            ("concepts", "concept", bundle.concepts, "n_latents"),
        ):
            number = outcome.summary[f"n_{what}_{rule}"]
            assert table[key].n_unique() == number
            assert frame.filter(pl.col(count + column) > 0).height == number
            assert sae[f"n_{what}{column}"] == number
            assert outcome.summary[f"sae_{what}_{rule}"] == number
            assert bundle.meta.metrics[f"n_{what}_{rule}"] == number
            assert card_number(bundle.card, f"n_{what}_{rule}") == number
            low, high = (sae[f"n_{what}{column}_{end}"] for end in ("low", "high"))
            assert f" {number:.0f} [{low:.0f}, {high:.0f}]" in console
            assert re.search(rf"\b{number:.0f} {what[:-1]}s?\b", lines[0])
    assert sae["n_features"] > 0, "the evaluation is too small to compare anything"


def test_each_concept_has_one_f1_and_one_precision_wherever_they_are_shown(place, outcome):
    bundle = resolve(str(outcome.bundle))
    shown = outcome.top_concepts[:10]
    assert shown
    methods = [row["method"] for row in outcome.baselines if row["method"] != "sae"]
    assert methods
    for method in methods:
        assert bundle.concepts[f"f1_{method}"].drop_nulls().is_between(0, 1).all()
    assert bundle.concepts["f1_neuron"].is_not_null().any()
    for row in shown:
        (registered,) = bundle.concepts.filter(concept=row["concept"]).to_dicts()
        assert {name: row[name] for name in registered} == registered
        (console,) = [ln for ln in outcome.lines() if ln.startswith(f"  {row['concept']:<44.44} ")]
        assert f"F1 {row['f1']:.2f}" in console
        assert f"latent {row['best_latent']} " in console
        evidence = bundle.card.partition("## Evidence")[2].partition("\n## ")[0]
        (card,) = [ln for ln in evidence.split("\n") if ln.startswith(f"| {row['concept']} |")]
        _, _, best, f1, _, by, precision, *_ = (cell.strip() for cell in card.split("|"))
        assert (int(best), float(f1)) == (row["best_latent"], pytest.approx(row["f1"], abs=5e-3))
        if row["call_precision"] is not None:
            assert f"precision {row['call_precision']:.2f}" in console
            assert float(precision.split()[0]) == pytest.approx(row["call_precision"], abs=5e-3)
        if row["call_latent"] is not None:
            assert f"calls by latent {row['call_latent']}:" in console
            assert by in (f"feature {row['call_latent']}", "withheld")
    made = report.run(
        ReportRequest(
            model=str(outcome.bundle),
            proteins=str(place / "data" / "annotations.tsv.gz"),
            latents=(shown[0]["best_latent"],),
            no_llm=True,
            max_proteins=40,
            out=place / "report",
            device="cpu",
        ),
        Silent(),
    )
    (page,) = json.loads(made.pages["json"].read_text(encoding="utf-8"))["features"]
    scores = {score["concept"]: score for score in page["evidence"]["concepts"]}
    score = scores[shown[0]["concept"]]
    assert score["f1"] == pytest.approx(shown[0]["f1"], abs=1e-3)
    assert score["precision"] == pytest.approx(shown[0]["precision_residue"], abs=1e-3)
