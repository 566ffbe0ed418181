"""The evaluate command, stopped while it encodes: it goes on from its parts, to the same result."""

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
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return json.loads(out), int(errors.rpartition("parts: ")[2])


@pytest.fixture(scope="module")
def whole(place: Path) -> tuple[dict[str, Any], int]:
    """What an undisturbed evaluation tells, and how many parts it encodes."""
    outcome, n_parts = finish(start(place, "whole"))
    assert n_parts > 4
    assert outcome.pop("bundle") == "whole/bundle"
    return outcome, n_parts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_a_stopped_evaluation_encodes_what_is_missing_and_finds_the_same(
    place: Path, whole: tuple[dict[str, Any], int], number: signal.Signals, code: int
) -> None:
    undisturbed, n_parts = whole
    out = number.name
    stopped = start(place, out, wait_after=3)
    assert stopped.stderr is not None
    said = ""
    while not said.endswith("waiting\n"):
        line = stopped.stderr.readline()
        assert line, said
        said += line
    stopped.send_signal(number)
    _, rest = stopped.communicate(timeout=60)
    assert stopped.returncode == code
    if number == signal.SIGINT:
        assert rest.splitlines()[-1] == (
            f"plmsae: stopped: 3 of {n_parts} parts of the encoded proteins are kept in "
            f"{out}/encoded; the same command continues from there"
        )
        assert not list((place / out).rglob("*.tmp"))
    assert len(list(place.glob(f"{out}/encoded/*/part-*"))) == 3

    resumed, n_encoded = finish(start(place, out))
    assert n_encoded == n_parts - 3
    assert resumed.pop("bundle") == f"{out}/bundle"
    assert resumed == undisturbed
    for name in ("features.parquet", "concepts.parquet", "callers.json"):
        one, other = (place / folder / "bundle" / name for folder in ("whole", out))
        assert one.read_bytes() == other.read_bytes(), name
    assert not list(place.glob("*/encoded"))
    meta = read_bundle(place / out / "bundle").meta
    assert (meta.plm, meta.extra["plm_folder"]) == ("tiny", str(place / "plms" / "tiny"))
