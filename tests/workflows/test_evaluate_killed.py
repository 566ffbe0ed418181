"""The evaluate command, killed while it encodes: it goes on from its parts, to the same result."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_process import CliProcess
from tiny_training import train_tiny

from plmsae.bundle.reading import read_bundle


def small_parts(wait_after: int = -1) -> None:
    """Encode in small parts, and say how many; stay, after so many, for as long as one lives."""
    from plmsae.encode import Encoder
    from plmsae.workflows.evaluating import activation_store

    activation_store.PART_RESIDUES = 2000
    original = Encoder.stream_with_states
    n_parts = 0

    def stream(self: Any, sequences: Any) -> Any:
        nonlocal n_parts
        if n_parts == wait_after:
            sys.stderr.write("waiting\n")
            sys.stderr.flush()
            time.sleep(600)
        n_parts += 1
        sys.stderr.write(f"part {n_parts}\n")
        sys.stderr.flush()
        return original(self, sequences)

    Encoder.stream_with_states = stream  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        # Not where its name alone would find it: the model remembers the folder.
        train_tiny(folder, plm="plms/tiny")
    return folder


def start(folder: Path, out: str, *, wait_after: int = -1) -> CliProcess:
    given = ["evaluate", "data/annotations.tsv.gz", "--model", "train/L2/bundle", "--out", out]
    given += ["--min-instances", "5", "--baselines", "fast", "--bootstrap", "20", "--no-register"]
    given += ["--fidelity-proteins", "8", "--device", "cpu", "--json"]
    return CliProcess(given, folder, partial(small_parts, wait_after))


def finish(process: CliProcess) -> tuple[dict[str, Any], int]:
    return json.loads(process.finish()), len(re.findall(r"^part \d+$", process.said(), re.M))


@pytest.mark.slow
def test_a_killed_evaluation_encodes_what_is_missing_and_finds_the_same(place: Path) -> None:
    undisturbed, n_parts = finish(start(place, "whole"))
    assert n_parts > 4
    killed = start(place, "killed", wait_after=3)
    killed.wait_for("waiting\n")
    killed.send(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
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
