"""Steering and ablation from a registered model to tables, figures and MLflow."""

from __future__ import annotations

import json

import polars as pl
import pytest
import torch
from mlflow import MlflowClient
from steering_world import D_SAE, SEQUENCE
from tiny import save_tiny

from plmsae.bundle.meta import BundleMeta
from plmsae.bundle.schema import CONCEPTS_SCHEMA, empty_frame
from plmsae.bundle.writing import write_bundle
from plmsae.cli.app import run
from plmsae.core.errors import InputError
from plmsae.plm.model import load_plm
from plmsae.sae.config import SaeConfig
from plmsae.sae.model import build_sae
from plmsae.workflows import ablate, steer
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import AblateRequest, SteerRequest
from plmsae.workflows.training.measurement import LatentStatistics


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    torch.set_num_threads(1)


def make_bundle(folder, *, unit="residue", target="input"):
    plm = load_plm(str(save_tiny(folder / "tiny")), device="cpu")
    sae = build_sae(SaeConfig(arch="topk", d_in=16, d_sae=D_SAE, k=4, target=target))
    statistics = LatentStatistics(D_SAE)
    statistics.add(sae, next(plm.activations([SEQUENCE], [2]))[1][2])
    sae.save(folder / "sae")
    meta = BundleMeta(
        plm=str(folder / "tiny"), plm_revision=plm.revision,
        plm_vocabulary=plm.vocabulary.fingerprint, layer=2, unit=unit, target=target,
        target_layer=None if target == "input" else 3, arch="topk", d_in=16, d_sae=D_SAE, k=4,
    )  # fmt: skip
    concepts = empty_frame(CONCEPTS_SCHEMA)
    write_bundle(
        folder / "bundle", sae_folder=folder / "sae", meta=meta,
        features=statistics.frame(), concepts=concepts,
    )  # fmt: skip
    return folder / "bundle"


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path)


@pytest.fixture
def latent(bundle):
    features = pl.read_parquet(bundle / "features.parquet")
    return int(features.filter(~pl.col("dead")).sort("density", descending=True)["latent"][0])


def artifacts(experiment: str, folder: str) -> set[str]:
    client = MlflowClient()
    found = client.get_experiment_by_name(experiment)
    (tracked,) = client.search_runs([found.experiment_id])
    assert tracked.info.status == "FINISHED"
    return {
        a.path.removeprefix(f"{folder}/")
        for a in client.list_artifacts(tracked.info.run_id, folder)
    }


def test_steering_writes_what_it_says_and_logs_it(bundle, latent, tmp_path):
    request = SteerRequest(
        model=str(bundle), sequence=SEQUENCE, latent=latent, value=1.7, positions=(3, 4),
        mask=(4, 9), target="G", generate="sequential", n_controls=2, out=tmp_path / "out",
        device="cpu",
    )  # fmt: skip
    outcome = steer.run(request, Silent())
    doses = pl.read_parquet(tmp_path / "out" / "dose_response.parquet")
    assert doses["value"].unique().sort().to_list() == [0, 0.25, 0.5, 1, 1.5, 1.7, 2]
    # Two residues of each: steered and masked, steered and seen, masked only, neither.
    assert doses.filter(value=1.7, kind="feature")["n_residues"].to_list() == [1, 1, 1, 25]
    assert outcome.lines()[0].startswith(f"latent {latent} set to 1.7 of its maximum")
    assert sum(line.startswith(("steered, ", "other, ")) for line in outcome.lines()) == 8
    told = json.loads((tmp_path / "out" / "steering.json").read_text())
    assert told == outcome.to_json()
    assert len(told["generated"]) == 1 + 1 + 4
    assert artifacts("plmsae-steer", "steering") == {
        *("dose_response.parquet", "dose_response.png", "generated.parquet"),
        *("predictions.parquet", "steering.json"),
    }


def test_ablation_says_which_residues_need_which_latent(bundle, latent, tmp_path):
    request = AblateRequest(
        model=str(bundle), sequence=SEQUENCE, n_latents=3, n_controls=2, out=tmp_path / "out",
        device="cpu",
    )  # fmt: skip
    outcome = ablate.run(request, Silent())
    effects = pl.read_parquet(tmp_path / "out" / "ablation.parquet")
    assert effects.height == 3 * len(SEQUENCE)
    for row in outcome.by_latent():
        needed = effects.filter(latent=row["latent"]).filter("needed")
        assert sorted(row["needed_by"]) == needed["position"].to_list()
    assert len(outcome.lines()) == 3 + 2
    assert artifacts("plmsae-ablate", "ablation") == {
        *("ablation.parquet", "ablation.png", "ablation.json"),
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"unit": "protein"}, "protein-level SAE"), ({"target": "layer"}, "a transcoder")],
)
def test_models_that_cannot_be_steered_are_refused_in_one_line(tmp_path, capsys, changes, said):
    model = str(make_bundle(tmp_path, **changes))
    for command in (["steer", "--latent", "0", "--value", "1"], ["ablate"]):
        assert run([*command, "-m", model, "--sequence", "MKT", "--device", "cpu", "-q"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"value": -1.0}, "--value"),
        ({"positions": (99,)}, "--positions"),
        ({"mask": (99,)}, "--mask"),
        ({"target": "B"}, "--target"),
        ({"n_controls": 0}, "--n-controls"),
        ({"latent": 999}, "--latent"),
        ({"generate": "one-shot"}, "--mask: no residue is masked"),
    ],
)
def test_wrong_settings_are_named(bundle, latent, changes, said):
    settings = {"model": str(bundle), "sequence": SEQUENCE, "latent": latent, "value": 1.0}
    with pytest.raises(InputError, match=said):
        steer.run(SteerRequest(**{**settings, "device": "cpu", **changes}), Silent())
