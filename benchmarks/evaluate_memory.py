"""Measure the memory that an evaluation takes, at several numbers of proteins.

    python benchmarks/evaluate_memory.py --families 50 200
    python benchmarks/evaluate_memory.py --table swissprot.tsv.gz

For each size a proteome is simulated and `plmsae evaluate` runs on it in a process of its own, or
on a table of real proteins. Its
memory is read from /proc five times a second (Linux only). *Anonymous* memory is what the process
itself holds. *Mapped* memory are pages of files, most of them of the encoded proteins: the system
takes them back when it needs room.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

#: The fields of /proc/PID/status, by what they are called here.
_FIELDS = {"anonymous": "RssAnon", "mapped": "RssFile"}


def simulate(families: int, proteins_per_family: int, out: Path) -> Path:
    """Return a table of annotated proteins."""
    command = ["simulate", "--n-families", str(families), "--out", str(out)]
    command += ["--proteins-per-family", str(proteins_per_family)]
    subprocess.run([sys.executable, "-m", "plmsae", *command], check=True, capture_output=True)
    return out / "annotations.tsv.gz"


def peak(command: list[str], folder: Path) -> dict[str, float]:
    """Run a command of plmsae; return its seconds and the peaks of its memory in GB."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    started = time.monotonic()
    highest = dict.fromkeys(_FIELDS, 0.0)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "plmsae", *command],
            cwd=folder, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
        while process.poll() is None:
            for name, kilobytes in _memory(process.pid).items():
                highest[name] = max(highest[name], kilobytes / 1e6)
            time.sleep(0.2)
    if process.returncode:
        sys.exit((folder / "log").read_text())
    return {**highest, "seconds": time.monotonic() - started}


def _memory(pid: int) -> dict[str, float]:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name: float(values[key].split()[0]) for name, key in _FIELDS.items() if key in values}


def main() -> None:
    """Print one line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ready")
    parser.add_argument("--families", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--proteins-per-family", type=int, default=10)
    parser.add_argument("--baselines", default="all", choices=["all", "fast", "none"])
    parser.add_argument("--table", type=Path, help="a UniProt table, instead of simulated ones")
    asked = parser.parse_args()
    print("proteins  residues  anonymous GB  mapped GB  seconds")
    for families in [0] if asked.table else asked.families:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            table = asked.table or simulate(
                families, asked.proteins_per_family, folder / "proteome"
            )
            command = ["evaluate", str(table.resolve()), "--model", asked.model, "--out", "out"]
            command += ["--no-register", "--baselines", asked.baselines, "--random-vectors", "6400"]
            found = peak([*command, "--fidelity-proteins", "8"], folder)
            lengths = pl.scan_csv(table, separator="\t", quote_char=None, infer_schema=False)
            n, residues = (
                lengths.select(n=pl.len(), residues=pl.col("Sequence").str.len_chars().sum())
                .collect()
                .row(0)
            )
        print(
            f"{n:8,}  {residues:8,}  {found['anonymous']:12.2f}  {found['mapped']:9.2f}  "
            f"{found['seconds']:7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
