"""The report command, killed: given again, it writes what an undisturbed run writes."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import polars as pl
import pytest
from cli_process import CliProcess
from random_kills import kill_twenty_times

from plmsae.workflows.shared.swissprot_sample import SAMPLE


def start(folder: Path, out: str) -> CliProcess:
    given = ["report", "proteins.tsv", "--model", "ready", "--n-features", "3", "--no-llm"]
    return CliProcess([*given, "--out", out, "--device", "cpu", "--quiet"], folder)


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    # The pages of the gates say when they were made.
    return {name: data for name, data in found.items() if not name.startswith("quality-")}


@pytest.mark.slow
def test_a_report_killed_while_it_writes_is_written_whole(tmp_path: Path) -> None:
    table = pl.read_csv(SAMPLE, separator="\t", infer_schema=False, quote_char=None)
    short = table.filter(pl.col("Sequence").str.len_chars() < 120)[:12]
    short.write_csv(tmp_path / "proteins.tsv", separator="\t", quote_style="never")
    start(tmp_path, "whole").finish()
    expected = files(tmp_path / "whole")
    assert {"report.html", "report.json", "report.md"} <= set(expected)
    writing = start(tmp_path, "killed")
    while writing.is_running() and not list((tmp_path / "killed").glob("report.*")):
        time.sleep(0.001)
    writing.send(signal.SIGKILL)
    writing.wait()
    start(tmp_path, "killed").finish()
    assert files(tmp_path / "killed") == expected


@pytest.mark.slow
def test_wherever_it_is_killed_a_report_ends_as_if_undisturbed(tmp_path: Path) -> None:
    kill_twenty_times("report", tmp_path)
