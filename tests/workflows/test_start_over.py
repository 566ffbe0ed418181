"""A folder of another run: told before the input is read, and emptied where that is asked for."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path

import mlflow
import pytest
from tiny_training import train_tiny

from plmsae.cli.app import run
from plmsae.core.errors import InputError
from plmsae.core.folders import only_writer, start_over
from plmsae.workflows import train
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import TrainRequest

SEQUENCE = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ"


@pytest.fixture(autouse=True)
def _somewhere_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")


def states() -> list[str]:
    store = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiments = [e.experiment_id for e in store.search_experiments()]
    return [found.info.status for found in store.search_runs(experiments)]


def test_a_score_folder_of_another_input_or_setting_is_refused_and_can_be_started_over(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a", "b"):
        Path(f"{name}.fasta").write_text(f">{name}\n{SEQUENCE}\n>{name}2\n{SEQUENCE[::-1]}{name}\n")
    assert run(("score", "a.fasta", "-o", "g")) == 0
    said = capsys.readouterr()
    assert "none of what this model calls was found here: " in said.out
    assert "n_rows" not in said.out
    assert "The model found something at all (expected n_rows at least 1, found 0)" in said.err
    assert "share_annotated" not in said.err
    assert " 0 proteins/s" not in said.err

    assert run(("score", "b.fasta", "-o", "g")) == 2
    assert "other proteins; name another folder, or give --start-over" in capsys.readouterr().err
    Path("b.bad").write_bytes(b"\xff\xfe")
    assert run(("score", "b.bad", "-o", "g", "--features")) == 2
    assert "its write_features is False" in capsys.readouterr().err
    assert states() == ["FINISHED"]

    assert run(("score", "b.fasta", "-o", "g", "--features", "--start-over")) == 0
    assert states() == ["FINISHED", "FINISHED"]
    Path("own").mkdir()
    Path("own/thesis.txt").write_text("mine")
    assert run(("score", "b.fasta", "-o", "own", "--start-over")) == 2
    assert Path("own/thesis.txt").read_text() == "mine"


def test_training_is_started_over_with_other_settings(tmp_path: Path) -> None:
    train_tiny(tmp_path)
    (tmp_path / "train" / "notes.txt").write_text("mine")
    changed = TrainRequest(
        proteins=str(tmp_path / "data" / "train.fasta.gz"),
        plm=str(tmp_path / "tiny"),
        layers=(2,),
        overrides={"d_sae": 64, "k": 4, "n_vectors": 16_000, "batch_size": 256},
        out=tmp_path / "train",
        register=False,
    )
    before = states()
    with pytest.raises(InputError, match=r"another configuration: d_sae.*--start-over"):
        train.run(dataclasses.replace(changed, proteins="missing.fasta"), Silent())
    assert states() == before
    (trained,) = train.run(dataclasses.replace(changed, start_over=True), Silent())
    assert json.loads((trained.bundle / "model.json").read_text())["d_sae"] == 64
    assert (tmp_path / "train" / "notes.txt").read_text() == "mine"


def test_only_own_names_are_removed_and_only_beside_the_proof(tmp_path: Path) -> None:
    for name in ("mine.txt", "quality/page", "checkpoints/made_of.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    own = re.compile("quality|checkpoints")
    with pytest.raises(InputError, match="removes only what plmsae wrote"):
        start_over(tmp_path, proof=("bundle",), own=own)
    assert (tmp_path / "quality" / "page").exists()
    start_over(tmp_path, proof=("checkpoints/made_of.json",), own=own)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_in_which_nothing_was_written_is_gone(tmp_path: Path) -> None:
    with only_writer(tmp_path / "runs" / "out"):
        pass
    assert not list(tmp_path.iterdir())
    (tmp_path / "runs" / "out").mkdir(parents=True)
    with only_writer(tmp_path / "runs" / "out"):
        pass
    assert (tmp_path / "runs" / "out").is_dir()
