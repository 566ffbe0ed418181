"""The score command and Ctrl-C: what it says, and that the same command ends as if undisturbed."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import pytest
from cli_process import CliProcess, halting
from scoring_fakes import contents, proteome, write_fasta


def small_parts(wait_at: int = -1) -> None:
    """Score in small parts; stay in the part that is given for as long as one lives."""
    from plmsae.encode import Encoder
    from plmsae.scoring import parts

    parts.PART_RESIDUES = 1000
    Encoder.stream = halting(Encoder.stream, wait_at)  # type: ignore[method-assign]


def start(folder: Path, out: str, *, wait_at: int = -1) -> CliProcess:
    given = ["score", "p.fasta", "--features", "--out", out, "--device", "cpu", "--quiet"]
    return CliProcess(given, folder, partial(small_parts, wait_at))


@pytest.mark.slow
def test_an_interrupted_score_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    write_fasta(tmp_path / "p.fasta", proteome(80, bad=False))
    start(tmp_path, "whole").finish()
    process = start(tmp_path, "out", wait_at=3)
    process.wait_for("waiting\n")
    process.send(signal.SIGINT)
    assert process.wait() == 130
    done = sorted((tmp_path / "out" / "parts").glob("0*.json"))
    assert process.said() == (
        f"waiting\nplmsae: stopped: {len(done)} finished parts are kept in out; "
        "the same command continues from there\n"
    )
    assert 0 < len(done) < len(list((tmp_path / "whole" / "parts").glob("0*.json")))
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not list((tmp_path / "out").rglob("*.tmp*"))
    before = [path.stat().st_mtime_ns for path in done]
    start(tmp_path, "out").finish()
    assert [path.stat().st_mtime_ns for path in done] == before
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
