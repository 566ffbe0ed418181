"""A second run into the output folder of one that is not done is refused, for as long as it lives.

What train, evaluate and report write; score has a test of its own beside the engine's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from plmsae.core.folders import only_writer
from plmsae.workflows.shared.swissprot_sample import SAMPLE

# The command, which stays where it loads the PLM for as long as it lives.
WAITING = """
import sys, time
import plmsae.plm.model as model
def wait(*given, **named):
    print("waiting", file=sys.stderr, flush=True)
    time.sleep(600)
model.load_plm = wait
from plmsae.cli.app import run
sys.exit(run(sys.argv[1:]))
"""
COMMANDS = {
    "train": ("train", "p.tsv", "--k", "4", "--d-sae", "64", "--no-register"),
    "evaluate": ("evaluate", "p.tsv", "--model", "ready", "--min-instances", "1", "--no-register"),
    "report": ("report", "p.tsv", "--model", "ready", "--no-llm"),
}


def start(folder: Path, program: list[str], *given: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *program, *given, "--out", "out", "--device", "cpu", "--quiet"],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_second_run_is_refused_until_the_first_has_ended(name: str, tmp_path: Path) -> None:
    table = pl.read_csv(SAMPLE, separator="\t", infer_schema=False, quote_char=None)
    short = table.filter(pl.col("Sequence").str.len_chars() < 120)[:40]
    short.write_csv(tmp_path / "p.tsv", separator="\t", quote_style="never")
    first = start(tmp_path, ["-c", WAITING], *COMMANDS[name])
    assert first.stderr is not None
    said = ""
    while not said.endswith("waiting\n"):
        line = first.stderr.readline()
        assert line, said
        said += line
    before = sorted(path for path in (tmp_path / "out").rglob("*"))
    second = start(tmp_path, ["-m", "plmsae"], *COMMANDS[name])
    _, errors = second.communicate(timeout=300)
    assert second.returncode == 2
    assert errors == (
        f"plmsae: error: out: another run is writing here (found 'process {first.pid}'); "
        "wait until it has ended, or name another folder\n"
    )
    assert sorted(path for path in (tmp_path / "out").rglob("*")) == before
    first.send_signal(signal.SIGKILL)
    first.communicate()
    with only_writer(tmp_path / "out"):
        pass
