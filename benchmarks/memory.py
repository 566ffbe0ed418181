"""Peak memory of `plmsae score`, `fill` and `train` by the number of proteins.

    python benchmarks/memory.py --n 13000 130000 --commands score fill train-1 train-4

Proteins of 12 to 20 residues, so that many cost little time; 13,000 of them fill a part, so that
more are more parts and not a larger one. The model is the one that ships; ``train-1`` trains one
SAE of its PLM, ``train-4`` four on one pass, all on as many residues. Each run is a process of its
own, gates included, whose highest resident memory the system tells.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from plmsae.workflows.shared.swissprot_sample import SAMPLE


def write_proteins(folder: Path, n: int) -> None:
    """Write ``p.fasta``, and ``p.tsv`` with the columns of UniProt's table and no label."""
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
    head = pl.read_csv(SAMPLE, separator="\t", infer_schema=False, quote_char=None, n_rows=0)
    with (folder / "p.fasta").open("w") as fasta, (folder / "p.tsv").open("w") as table:
        table.write("\t".join(head.columns) + "\n")
        for i in range(n):
            sequence = letters[rng.integers(0, 20, rng.integers(12, 21))].tobytes().decode()
            fasta.write(f">P{i:07d}\n{sequence}\n")
            cells = {"Entry": f"P{i:07d}", "Sequence": sequence, "Length": str(len(sequence))}
            table.write("\t".join(cells.get(name, "") for name in head.columns) + "\n")


_TRAIN = (
    *("train", "p.fasta", "--d-sae", "1024", "--n-vectors", "409600", "--no-register"),
    *("--layers", "4"),
)
COMMANDS = {
    "score": ("score", "p.fasta"),
    "fill": ("fill", "p.tsv"),
    "train-1": (*_TRAIN, "--k", "32"),
    "train-4": (*_TRAIN, "--k", "8,16,32,64"),
}


def peak(command: str, folder: Path, more: list[str]) -> tuple[float, float]:
    """Run a command; return its peak in MiB and its seconds."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "plmsae", *COMMANDS[command], "--out", "out", "--quiet", *more],
        cwd=folder,
        env=os.environ | {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with exit code {process.returncode}")
    scale = 1 if sys.platform == "darwin" else 1024  # Linux counts KiB
    return usage.ru_maxrss * scale / 2**20, time.perf_counter() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[13_000, 130_000])
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=["score"])
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="of the command")
    given = parser.parse_args()
    print("| command | proteins | peak, MiB | beside the fewest | seconds |")
    print("| --- | ---: | ---: | ---: | ---: |", flush=True)
    for command in given.commands:
        first = None
        for n in given.n:
            with tempfile.TemporaryDirectory() as scratch:
                write_proteins(Path(scratch), n)
                mib, seconds = peak(command, Path(scratch), given.options)
            first = first or mib
            share = f"{mib / first - 1:+.1%}"
            print(f"| {command} | {n:,} | {mib:,.0f} | {share} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
