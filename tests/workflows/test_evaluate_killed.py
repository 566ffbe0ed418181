"""The evaluate command, killed while it encodes: it goes on from its parts, to the same result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_training import train_tiny

from plmsae.bundle.reading import read_bundle

# The command, with small parts. It prints what it encodes; with an argument, it stays there after
# so many parts, for as long as it lives.
CHILD = """
import sys, time
from plmsae.encode import Encoder
from plmsae.workflows.evaluating import activation_store

activation_store.PART_RESIDUES = 2000
original = Encoder.stream_with_states
parts = []

def stream(self, sequences):
    if len(parts) == int(sys.argv[1]):
        print("waiting", file=sys.stderr, flush=True)
        time.sleep(600)
    parts.append(len(sequences))
    return original(self, sequences)

Encoder.stream_with_states = stream
from plmsae.cli.app import run
code = run(sys.argv[2:])
print(f"parts: {len(parts)}", file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        # Not where its name alone would find it: the model remembers the folder.
        train_tiny(folder, plm="plms/tiny")
    return folder


def start(folder: Path, out: str, *, wait_after: int = -1) -> subprocess.Popen[str]:
    given = ["evaluate", "data/annotations.tsv.gz", "--model", "train/L2/bundle", "--out", out]
    given += ["--min-instances", "5", "--baselines", "fast", "--bootstrap", "20", "--no-register"]
    given += ["--fidelity-proteins", "8", "--device", "cpu", "--json"]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(wait_after), *given],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[dict[str, Any], int]:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return json.loads(out), int(errors.rpartition("parts: ")[2])


@pytest.mark.slow
def test_a_killed_evaluation_encodes_what_is_missing_and_finds_the_same(place: Path) -> None:
    undisturbed, n_parts = finish(start(place, "whole"))
    assert n_parts > 4
    killed = start(place, "killed", wait_after=3)
    assert killed.stderr is not None
    said = ""
    while not said.endswith("waiting\n"):
        line = killed.stderr.readline()
        assert line, said
        said += line
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(timeout=60) == -signal.SIGKILL
    killed.communicate()
    assert len(list(place.glob("killed/encoded/*/part-*"))) == 3

    resumed, n_encoded = finish(start(place, "killed"))
    assert n_encoded == n_parts - 3
    assert resumed.pop("bundle") == "killed/bundle"
    assert undisturbed.pop("bundle") == "whole/bundle"
    assert resumed == undisturbed
    for name in ("features.parquet", "concepts.parquet", "callers.json"):
        one, other = (place / out / "bundle" / name for out in ("whole", "killed"))
        assert one.read_bytes() == other.read_bytes(), name
    assert not list(place.glob("*/encoded"))
    meta = read_bundle(place / "killed" / "bundle").meta
    assert (meta.plm, meta.extra["plm_folder"]) == ("tiny", str(place / "plms" / "tiny"))
