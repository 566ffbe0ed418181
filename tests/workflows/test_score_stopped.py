"""The score command and Ctrl-C: what it says, and that the same command ends as if undisturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from scoring_fakes import contents, proteome, write_fasta

# The command, with small parts; with a number, it stays in that chunk for as long as it lives.
CHILD = """
import sys, time
from plmsae.encode import Encoder
from plmsae.scoring import parts
parts.PART_RESIDUES = 1000
original, chunks = Encoder.encode, 0
def encode(self, sequences):
    global chunks
    if chunks == int(sys.argv[1]):
        print("waiting", file=sys.stderr, flush=True)
        time.sleep(600)
    chunks += 1
    return original(self, sequences)
Encoder.encode = encode
from plmsae.cli.app import run
sys.exit(run(sys.argv[2:]))
"""


def start(folder: Path, out: str, *, wait_at: int = -1) -> subprocess.Popen[str]:
    given = ["score", "p.fasta", "--features", "--out", out, "--device", "cpu", "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(wait_at), *given],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_an_interrupted_score_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    write_fasta(tmp_path / "p.fasta", proteome(80, bad=False))
    whole = start(tmp_path, "whole")
    assert whole.wait(timeout=600) == 0
    process = start(tmp_path, "out", wait_at=20)
    assert process.stderr is not None
    said = ""
    while not said.endswith("waiting\n"):
        line = process.stderr.readline()
        assert line, said
        said += line
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert rest == "plmsae: stopped: interrupted; run the same command to continue\n"
    done = sorted((tmp_path / "out" / "parts").glob("0*.json"))
    assert 0 < len(done) < len(list((tmp_path / "whole" / "parts").glob("0*.json")))
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not list((tmp_path / "out").rglob("*.tmp*"))
    before = [path.stat().st_mtime_ns for path in done]
    again = start(tmp_path, "out")
    assert again.wait(timeout=600) == 0
    assert [path.stat().st_mtime_ns for path in done] == before
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
