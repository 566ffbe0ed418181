"""Seconds and peak memory of the quality suite of annotations by the number of rows.

    python benchmarks/quality.py --n 1000000

Ten calls of 40 concepts on each protein of 300 residues, in parts of 100,000 rows as scoring writes
them, with everything that the suite compares with: proteins, sequences, concepts, known labels of a
tenth of the proteins, facts of the model. Each check is a process of its own, from its start (with
imports) to the written pages; the system tells its highest resident memory.
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

ROWS_PER_PART = 100_000
CALLS = 10
LENGTH = 300
CONCEPTS = [f"Domain: D{i}" for i in range(30)] + [f"Motif: M{i}" for i in range(10)]

CHECK = """
import sys
from pathlib import Path
import polars as pl
from plmsae.quality.validation import validate
folder = Path(sys.argv[1])
context = {name: folder / name for name in ("proteins", "sequences")}
context |= {name: folder / f"{name}.parquet" for name in ("concepts", "labels", "registered")}
report = validate("annotations", folder / "annotations", out_dir=folder / "out", context=context)
states = ("passed", "failed", "warning", "unchecked")
print(*(f"{len(report.of(state))} {state}" for state in states), sep=", ")
"""


def write_tables(folder: Path, n: int) -> None:
    """Write ``annotations/`` with `n` rows, and the tables beside it."""
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
    for name in ("annotations", "proteins", "sequences"):
        (folder / name).mkdir()
    labels = []
    for part, first in enumerate(range(0, n, ROWS_PER_PART)):
        rows = min(ROWS_PER_PART, n - first)
        accessions = [f"P{(first + i) // CALLS:08d}" for i in range(0, rows, CALLS)]
        start = rng.integers(1, 200, rows)
        calls = pl.DataFrame(
            {
                "accession": np.repeat(accessions, CALLS)[:rows],
                "start": start,
                "end": start + rng.integers(5, 80, rows),
                "concept": rng.choice(CONCEPTS, rows),
                "score": rng.random(rows),
                "precision": np.full(rows, 0.9),
                "precision_low": np.full(rows, 0.8),
                "probability": rng.uniform(0.8, 1.0, rows),
                "model_uri": ["models:/m/1"] * rows,
            }
        ).unique(["accession", "start", "end", "concept"], maintain_order=True)
        drawn = letters[rng.integers(0, 20, (len(accessions), LENGTH))]
        proteins = pl.DataFrame(
            {
                "accession": accessions,
                "length": [LENGTH] * len(accessions),
                "sequence": [row.tobytes().decode() for row in drawn],
            }
        )
        file = f"part-{part:05d}.parquet"
        calls.write_parquet(folder / "annotations" / file)
        proteins.drop("sequence").write_parquet(folder / "proteins" / file)
        proteins.drop("length").write_parquet(folder / "sequences" / file)
        labels.append(calls.head(rows // 10).select("accession", "start", "end", "concept"))
    pl.concat(labels).write_parquet(folder / "labels.parquet")
    pl.DataFrame(
        {
            "concept": CONCEPTS,
            "kind": ["span"] * len(CONCEPTS),
            "n_calls": [1000] * len(CONCEPTS),
        }
    ).write_parquet(folder / "concepts.parquet")
    pl.DataFrame(
        {"fact": ["model"], "used": ["models:/m/1"], "registered": ["models:/m/1"]}
    ).write_parquet(folder / "registered.parquet")


def check(folder: Path) -> tuple[float, float, float, str]:
    """Check the tables in a process; return its MiB, seconds, processor seconds and findings."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", CHECK, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    found = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the check ended with exit code {process.returncode}")
    scale = 1 if sys.platform == "darwin" else 1024  # Linux counts KiB
    seconds = time.perf_counter() - started
    processor = usage.ru_utime + usage.ru_stime
    return usage.ru_maxrss * scale / 2**20, seconds, processor, found.strip()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[100_000, 1_000_000])
    print("| rows | seconds | processor seconds | peak MiB | expectations |")
    print("| --- | --- | --- | --- | --- |")
    for n in parser.parse_args().n:
        with tempfile.TemporaryDirectory() as folder:
            write_tables(Path(folder), n)
            peak, seconds, processor, found = check(Path(folder))
        row = f"{n:,} | {seconds:.1f} | {processor:.1f} | {peak:,.0f} | {found}"
        print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
