"""The evaluate command, stopped while it encodes: it goes on from its parts, to the same result."""

from __future__ import annotations

import json
import re
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_process import CliProcess, halting
from random_kills import kill_twenty_times
from tiny_training import train_tiny

from plmsae.bundle.reading import read_bundle


def small_parts(wait_after: int = -1) -> None:
    """Encode in small parts, and say how many; stay, after so many, for as long as one lives."""
    from plmsae.encode import Encoder
    from plmsae.workflows.evaluating import activation_store

    activation_store.PART_RESIDUES = 2000
    Encoder.stream_with_states = halting(  # type: ignore[method-assign]
        Encoder.stream_with_states, wait_after, "part"
    )


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
    stopped.wait_for("waiting\n")
    stopped.send(number)
    assert stopped.wait() == code
    if number == signal.SIGINT:
        assert stopped.said().splitlines()[-1] == (
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


@pytest.mark.slow
def test_wherever_it_is_killed_an_evaluation_ends_as_if_undisturbed(tmp_path: Path) -> None:
    kill_twenty_times("evaluate", tmp_path)
