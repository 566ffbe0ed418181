"""What `train` refuses, it refuses before any work, and leaves no run behind."""

from __future__ import annotations

import json

import pytest

from plmsae.core.errors import InputError
from plmsae.workflows import train
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import TrainRequest

SEQUENCE = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ"


@pytest.fixture
def request_of(tmp_path, monkeypatch):
    """Return a function that makes a request; no MLflow store exists yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    path = tmp_path / "x.fasta"
    path.write_text("".join(f">p{i}\n{SEQUENCE[i:]}\n" for i in range(20)))

    def make(**changes) -> TrainRequest:
        values = {"proteins": str(path), "plm": "plmsae-mini", "out": tmp_path / "out"}
        return TrainRequest(**{**values, "layers": (4,), **changes})

    return make


def test_a_layer_that_the_plm_lacks_is_refused_before_the_proteins_are_read(request_of, tmp_path):
    request = request_of(layers=(99,), proteins=str(tmp_path / "missing.fasta"))
    with pytest.raises(InputError, match="--layers: plmsae-mini has layers 0 to"):
        train.run(request, Silent())
    assert not (tmp_path / "mlflow.db").exists()


def test_a_folder_of_another_run_is_refused_with_how_to_start_over(request_of, tmp_path):
    checkpoints = tmp_path / "out" / "checkpoints"
    (checkpoints / "sae-0" / "step-10").mkdir(parents=True)
    (checkpoints / "made_of.json").write_text(json.dumps({"--unit": "protein"}))
    damaged = tmp_path / "damaged.fasta"
    damaged.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"holds a run with other .*--start-over to remove"):
        train.run(request_of(proteins=str(damaged)), Silent())
    assert not (tmp_path / "mlflow.db").exists()
