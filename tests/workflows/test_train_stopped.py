"""The train command, stopped by a signal: what it says, what it keeps, and how it goes on."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_process import CliProcess

from plmsae.sae.model import load_sae
from plmsae.tracking.store import client

STEPS = 60


def command(folder: Path, out: str, *more: str) -> CliProcess:
    given = ["train", "p.fasta", "--layers", "1,2", "--k", "4", "--d-sae", "64", "--no-register"]
    given += ["--n-vectors", str(64 * STEPS), "--batch-size", "64", "--log-every", "1"]
    given += ["--checkpoint-minutes", "60", "--device", "cpu", "--json", "--out", out, *more]
    return CliProcess(given, folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    rng = np.random.default_rng(0)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    proteins = ["M" + "".join(rng.choice(letters, rng.integers(20, 40))) for _ in range(40)]
    (folder / "p.fasta").write_text("".join(f">P{i}\n{s}\n" for i, s in enumerate(proteins)))
    command(folder, "whole").finish()
    return folder


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
        pytest.param(signal.SIGINT, 130, id="SIGINT", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_training_goes_on_and_ends_with_the_same_saes(
    number: signal.Signals, code: int, undisturbed: Path
) -> None:
    out = number.name
    process = command(undisturbed, out, "--debug")
    process.wait_for("debug: step 5: ")
    process.send(number)
    assert process.wait() == code, process.said()
    said = process.said()
    assert said.count("plmsae: stopped: ") == 1
    checkpoints = Path(out) / "checkpoints"
    told = re.search(
        r"plmsae: stopped: the checkpoint after step (\d+) of 60 is kept in (\S+); "
        r"the same command continues from there\n",
        said,
    )
    assert told, said
    assert told[2] == str(checkpoints)
    step = int(told[1])
    assert 5 <= step < STEPS
    stored = sorted((undisturbed / checkpoints).glob("sae-*/step-*"))
    assert [p.name for p in stored] == [f"step-{step:09d}"] * 2
    runs = client("sqlite:///" + str(undisturbed / "mlflow.db")).search_runs(["1"])
    assert runs[0].info.status == "KILLED"
    assert "the checkpoint after step" in runs[0].data.tags["plmsae.error"]

    outcomes = json.loads(command(undisturbed, out).finish())
    assert [outcome["layer"] for outcome in outcomes] == [1, 2]
    for layer in ("L1", "L2"):
        whole, resumed = (
            load_sae(undisturbed / name / layer / "bundle" / "sae").state_dict()
            for name in ("whole", out)
        )
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)
