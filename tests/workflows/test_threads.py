"""On how many cores a workflow computes, in real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from plmsae.core.errors import InputError
from plmsae.workflows.shared.threads import computing_on

# The command, which tells what the libraries compute on while the PLM runs, and after.
CHILD = """
import json, os, sys
from plmsae.encode import Encoder
original = Encoder.encode
def tell(when):
    import polars, torch
    from threadpoolctl import threadpool_info
    pools = sorted({pool["num_threads"] for pool in threadpool_info()})
    found = [torch.get_num_threads(), pools, polars.thread_pool_size()]
    print(json.dumps([when, *found, os.environ.get("OMP_NUM_THREADS")]), file=sys.stderr)
def encode(self, sequences):
    tell("while")
    return original(self, sequences)
Encoder.encode = encode
from plmsae.cli.app import run
code = run(sys.argv[1:])
tell("after")
sys.exit(code)
"""


def told(folder: Path, *given: str, omp: str | None = None) -> dict[str, list[object]]:
    (folder / "p.fasta").write_text(">P1\nMKTAYIAKQRQISFVKSHFSRQ\n")
    environment = os.environ | {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    environment.pop("OMP_NUM_THREADS", None)
    if omp is not None:
        environment["OMP_NUM_THREADS"] = omp
    command = [sys.executable, "-c", CHILD, "score", "p.fasta", "--no-validate", "--quiet"]
    command += ["--device", "cpu", "--out", f"out{len(list(folder.iterdir()))}", *given]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("[")]
    return {when: found for when, *found in lines}


@pytest.mark.slow
def test_a_command_computes_on_as_many_threads_as_it_is_told(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    asked = told(tmp_path, "--threads", "3")
    assert asked["while"] == [3, [3], 3, "3"]
    assert asked["after"][0] == cores
    assert asked["after"][3] is None
    # Without the option, all cores, or what the environment says.
    assert told(tmp_path)["while"][0] == cores
    assert told(tmp_path, omp="5")["while"][0] == 5
    assert told(tmp_path, "--threads", "1", omp="5")["while"] == [1, [1], 1, "1"]


def test_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"--threads.*one core or more.*'0'"), computing_on(0):
        pass
