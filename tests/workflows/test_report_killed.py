"""The report command, killed at random moments: given again, it writes what was undisturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from plmsae.workflows.shared.swissprot_sample import SAMPLE


def start(folder: Path, out: str) -> subprocess.Popen[bytes]:
    given = ["report", "proteins.tsv", "--model", "ready", "--n-features", "3", "--no-llm"]
    return subprocess.Popen(
        [sys.executable, "-m", "plmsae", *given, "--out", out, "--device", "cpu", "--quiet"],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"},
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors.decode()[-2000:]


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_a_killed_report_is_written_as_if_nothing_had_happened(tmp_path: Path) -> None:
    table = pl.read_csv(SAMPLE, separator="\t", infer_schema=False, quote_char=None)
    short = table.filter(pl.col("Sequence").str.len_chars() < 120)[:12]
    short.write_csv(tmp_path / "proteins.tsv", separator="\t", quote_style="never")
    began = time.monotonic()
    finish(start(tmp_path, "whole"))
    seconds = time.monotonic() - began
    expected = files(tmp_path / "whole")
    assert {"report.html", "report.json", "report.md"} <= set(expected)
    # Somewhere; and as soon as the first page is there, in the middle of writing.
    moment = random.uniform(0.1, 0.9) * seconds
    killed = start(tmp_path, "killed")
    try:
        killed.wait(timeout=moment)
    except subprocess.TimeoutExpired:
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    writing = start(tmp_path, "killed")
    while writing.poll() is None and not list((tmp_path / "killed").glob("report.*")):
        time.sleep(0.001)
    writing.send_signal(signal.SIGKILL)
    writing.communicate()
    finish(start(tmp_path, "killed"))
    assert files(tmp_path / "killed") == expected, f"killed after {moment:.2f} s"
