"""What runs used, and where a version comes from, read back from a real MLflow store."""

from __future__ import annotations

import json

import mlflow.data
import pytest
from mlflow import MlflowClient
from tiny_training import train_tiny

from plmsae.cli.app import run as plmsae
from plmsae.core.errors import QualityError
from plmsae.core.fingerprint import fingerprint_file, fingerprint_records
from plmsae.proteins.reading import read_proteins
from plmsae.registry.models import resolve
from plmsae.registry.promotion import promote
from plmsae.workflows import evaluate, fill, score
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import (
    EvaluateRequest,
    FillRequest,
    ScoreRequest,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny SAE that was trained, evaluated, scored and filled with, each from the registry."""
    folder = tmp_path_factory.mktemp("lineage")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("PLMSAE_CACHE", str(folder / "cache"))
        trained = train_tiny(folder, register=True)
        evaluated = evaluate.run(
            EvaluateRequest(
                model=f"{trained.model}",
                concepts=str(folder / "data" / "annotations.tsv.gz"),
                out=folder / "evaluate",
                min_instances=5,
                baselines="none",
                bootstrap=20,
                device="cpu",
            ),
            Silent(),
        )
        model = f"{evaluated.model}"
        score.run(
            ScoreRequest(
                proteins=str(folder / "data" / "heldout.fasta.gz"),
                model=model,
                out=folder / "scores",
                features=True,
                validate=False,
            ),
            Silent(),
        )
        fill.run(
            FillRequest(
                table=str(folder / "data" / "annotations.tsv.gz"),
                model=model,
                out=folder / "fill",
                truth=str(folder / "data" / "truth.tsv.gz"),
                validate=False,
            ),
            Silent(),
        )
        yield folder


def inputs_of(place, experiment):
    """Return name, context, profile and digest of the data, and the models, of one run."""
    store = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    number = store.get_experiment_by_name(experiment).experiment_id
    (listed,) = store.search_runs([number])
    run = store.get_run(listed.info.run_id)
    data = {}
    for entry in run.inputs.dataset_inputs:
        (tag,) = [t.value for t in entry.tags if t.key == "mlflow.data.context"]
        data[tag] = entry
    models = [store.get_logged_model(m.model_id) for m in run.inputs.model_inputs]
    return run, data, models


def test_a_training_run_has_its_proteins_as_input(place):
    _, data, models = inputs_of(place, "plmsae-train")
    assert (list(data), models) == (["train"], [])
    described = data["train"].dataset
    sha256 = fingerprint_records(read_proteins(str(place / "data" / "train.fasta.gz")))
    assert described.name == "train.fasta.gz"
    assert json.loads(described.profile)["sha256"] == sha256
    assert described.digest == sha256[:36]
    # MLflow's own reader of sources understands it.
    assert mlflow.data.get_source(data["train"]).uri == "train.fasta.gz"


def test_an_evaluation_has_both_splits_and_the_model_it_used(place):
    run, data, models = inputs_of(place, "plmsae-evaluate")
    assert set(data) == {"choose", "report"}
    assert data["choose"].dataset.digest != data["report"].dataset.digest
    made = resolve("plmsae.tiny.L2.residue/2").meta
    assert json.loads(data["report"].dataset.profile)["sha256"] == made.eval_data.sha256
    (version,) = json.loads(models[0].tags["mlflow.modelVersions"])
    assert int(version["version"]) == 1
    assert len(run.outputs.model_outputs) == 1


@pytest.mark.parametrize("experiment", ["plmsae-score", "plmsae-fill"])
def test_scoring_and_filling_are_linked_to_the_model_they_used(place, experiment):
    _, data, (model,) = inputs_of(place, experiment)
    manifest = place / ("scores" if "score" in experiment else "fill/scores") / "manifest.json"
    assert (
        json.loads(data["score"].dataset.profile)["sha256"]
        == (json.loads(manifest.read_text())["input_sha256"])
    )
    (version,) = json.loads(model.tags["mlflow.modelVersions"])
    assert int(version["version"]) == 2
    if "truth" in data:
        truth = fingerprint_file(place / "data" / "truth.tsv.gz")
        assert json.loads(data["truth"].dataset.profile)["sha256"] == truth


def test_lineage_leads_from_the_evaluated_version_to_its_training(place, capsys):
    with pytest.raises(QualityError):
        promote("plmsae.tiny.L2.residue/2")
    promote("plmsae.tiny.L2.residue/2", force=True, reason="only a test")
    assert plmsae(["lineage", "plmsae.tiny.L2.residue", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "plmsae.tiny.L2.residue/2"
    assert [run["experiment"] for run in found["runs"]] == ["plmsae-evaluate", "plmsae-train"]
    assert found["runs"][0]["models"] == ["plmsae.tiny.L2.residue/1"]
    assert found["runs"][1]["made"] == "plmsae.tiny.L2.residue/1"
    made = inputs_of(place, "plmsae-train")[0]
    assert found["runs"][1]["run_id"] == made.info.run_id
    assert found["runs"][1]["code"]["plmsae"] == made.data.tags["version.plmsae"]
    by_role = {entry["role"]: entry for entry in found["data"]}
    assert set(by_role) == {"train", "report", "labels of report"}
    assert by_role["train"]["source"] == "train.fasta.gz"
    (move,) = found["promotions"]
    assert (move["to"], move["reason"]) == ("2", "only a test")
    assert move["overruled"]
    assert plmsae(["lineage", "plmsae.tiny.L2.residue"]) == 0
    text = capsys.readouterr().out
    for words in ("reason: only a test", "overruled: ", "train: train.fasta.gz", "used: "):
        assert words in text
