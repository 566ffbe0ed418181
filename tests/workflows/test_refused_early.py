"""A command that is refused reads no input, leaves no run in the store and no folder."""

from __future__ import annotations

import os
from pathlib import Path

import mlflow
import pytest

from plmsae.cli.app import run

TRAIN = ("train", "damaged.fasta", "--layers", "5", "-o", "runs/out")
SCORE = ("score", "damaged.fasta", "-o", "runs/out")
REPORT = ("report", "damaged.fasta", "-m", "ready", "-o", "runs/out")
EVALUATE = ("evaluate", "damaged.fasta", "-m", "ready", "-o", "runs/out")

ARGUMENTS = [
    ((*TRAIN, "--d-sae", "0"), "d_sae must be a positive whole number"),
    ((*TRAIN, "--k", "99999"), "k (99999) must not exceed d_sae"),
    ((*TRAIN, "--k", "0"), "--k: must be at least 1"),
    ((*TRAIN, "--n-vectors", "0"), "n_vectors must be a positive whole number"),
    ((*TRAIN, "--checkpoint-minutes=-1"), "checkpoint_minutes must not be negative"),
    ((*TRAIN, "--device", "cuda:77"), "--device: no such device here"),
    ((*TRAIN, "--seed", "-1"), "--seed: must be at least 0 and at most 4294967295"),
    ((*TRAIN, "--max-proteins", "0"), "--max-proteins: must be at least 1"),
    ((*EVALUATE, "--min-precision", "2"), "--min-precision: must be at least 0 and at most 1"),
    ((*EVALUATE, "--device", "cuda:77"), "--device: no such device here"),
    ((*REPORT, "--latents", "99999"), "dead, or no such latent (found '99999')"),
    ((*SCORE, "--min-precision", "nan"), "--min-precision: must be at least 0 and at most 1"),
    (("pretrain", "damaged.fasta", "-o", "runs/out", "--device", "cuda:77"), "no such device"),
    (("pretrain", "damaged.fasta", "-o", "runs/out", "--steps", "0"), "--steps: must be at least"),
    (("fill", "damaged.fasta", "-o", "runs/out", "--hide-share", "1"), "--hide-share: must be"),
    (("demo", "-o", "runs/out", "--layer", "99"), "--layer: plmsae-mini has layers 0 to"),
    (("atlas", "ready", "--proteins", "damaged.fasta", "--proposals", "no"), "no proposals"),
    (("atlas", "ready", "--proteins", "damaged.fasta", "-o", "runs/out", "--seed", "-1"), "--seed"),
]
INPUTS = {
    "UTF-16": ">a\nMKTAYIAKQRQISFVKSHFSRQ\n".encode("utf-16"),
    "gaps": b">a\n-----\n>b\n---\n",
    "unlabelled": b"Entry\tSequence\nP1\tMKTAYIAKQRQISFVKSHFSRQLEERLG\nP2\tMKVLAAGIVGLCAKAYD\n",
}
PRETRAIN = ("pretrain", "damaged.fasta", "-o", "runs/out", "--steps", "1")
READS = (PRETRAIN, SCORE, REPORT, EVALUATE, TRAIN, ("validate", "damaged.fasta", "-o", "runs/out"))


@pytest.fixture(autouse=True)
def _somewhere_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    Path("damaged.fasta").write_bytes(INPUTS["UTF-16"])


def left() -> set[str]:
    return {path.name for path in Path().iterdir()} - {"damaged.fasta", "mlflow.db"}


def runs() -> list[object]:
    store = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiments = [e.experiment_id for e in store.search_experiments()]
    return list(store.search_runs(experiments))


@pytest.mark.parametrize(("command", "said"), ARGUMENTS)
def test_wrong_arguments_are_refused_before_anything_is_read(
    command: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command) == 2
    assert said in capsys.readouterr().err
    assert not left()
    assert not Path("mlflow.db").exists()


@pytest.mark.parametrize(
    ("command", "what"),
    [
        *((command, "UTF-16") for command in READS),
        *((command, "gaps") for command in READS if command[0] != "validate"),  # a verdict
        *((command, "unlabelled") for command in (EVALUATE, TRAIN)),
    ],
    ids=lambda given: given if isinstance(given, str) else given[0],
)
def test_an_input_that_cannot_be_used_leaves_no_failed_run(
    command: tuple[str, ...], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("damaged.fasta").write_bytes(INPUTS[what])
    assert run(command) == 2, capsys.readouterr().err
    assert not left()
    assert not runs()


def test_a_path_that_is_not_there_is_not_validated_in_a_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(("validate", "nosuch.tsv", "-o", "runs/out")) == 2
    assert run(("validate", "nosuch", "--kind", "annotations", "-o", "runs/out")) == 2
    assert "no such file" in capsys.readouterr().err
    assert not left()
    assert not runs()
