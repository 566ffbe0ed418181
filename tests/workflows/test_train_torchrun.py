"""The train command under torchrun: two processes, one run, the SAE that one process makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from plmsae.sae.model import load_sae

# Adam divides by the size of a gradient: what is added in another order moves weights this much.
TOLERANCE = 1e-3


def fasta(path: Path) -> Path:
    rng = np.random.default_rng(0)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    proteins = ["M" + "".join(rng.choice(letters, rng.integers(20, 40))) for _ in range(30)]
    path.write_text("".join(f">P{i}\n{s}\n" for i, s in enumerate(proteins)))
    return path


def plmsae(folder: Path, *arguments: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [sys.executable, *(torchrun if processes > 1 else []), "-m", "plmsae", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.slow
def test_two_processes_train_one_model_as_one_does(tmp_path: Path) -> None:
    proteins = fasta(tmp_path / "p.fasta")
    common = ["train", str(proteins), "--layers", "2", "--k", "4", "--d-sae", "64", "-q", "--json"]
    common += ["--n-vectors", "2560", "--batch-size", "128", "--cache", "cache"]
    found = {}
    for name, processes in (("two", 2), ("one", 1)):
        done = plmsae(tmp_path, *common, "--out", name, processes=processes)
        assert done.returncode == 0, done.stderr
        found[name] = json.loads(done.stdout.replace("[]\n", ""))
    # The first process alone has stored and registered.
    assert [found[name][0]["model"] for name in ("two", "one")] == [
        f"plmsae.plmsae-mini.L2.residue/{version}" for version in (1, 2)
    ]
    two, one = (load_sae(tmp_path / found[name][0]["bundle"] / "sae") for name in ("two", "one"))
    assert torch.allclose(two.W_dec_FD, one.W_dec_FD, atol=TOLERANCE)
    assert torch.allclose(two.W_enc_FD, one.W_enc_FD, atol=TOLERANCE)

    # What one process alone finds wrong ends all, and only that one says what.
    refused = plmsae(tmp_path, *common, "--out", "one", processes=2)
    assert refused.returncode != 0
    assert "the folder holds a run with other number of processes" in refused.stderr
    assert "plmsae: bug" not in refused.stderr
