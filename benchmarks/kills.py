"""Kill commands at random moments, give them again, and compare with what nobody disturbed.

    python benchmarks/kills.py -n 20

Each command (score, fill, train, evaluate, report) runs undisturbed. Then it starts in a new
folder, is killed with SIGKILL at a random moment, is given again, is perhaps killed again, until it
is done; and so on in more folders until it was killed as often as asked. Every file that it leaves
must equal that of the undisturbed run; what may differ is listed in `COMMANDS`. Inputs are a few
short proteins of the sample of Swiss-Prot, parts are small so that there are several, and the model
is the one that ships. Leave the checkout as it is meanwhile: a trained model records its commit,
and whether files were changed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import forked
import polars as pl

from plmsae.workflows.shared.swissprot_sample import SAMPLE


def small_parts() -> None:
    """Make parts so small that a short run has several."""
    from plmsae.scoring import parts
    from plmsae.workflows.evaluating import activation_store

    parts.PART_RESIDUES = activation_store.PART_RESIDUES = 1000


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command to kill."""

    arguments: tuple[str, ...]
    """They name the output ``out``, in a working folder of its own."""
    left_out: tuple[str, ...] = ()
    """Files of the output that need not be equal."""
    volatile: tuple[str, ...] = ()
    """Keys of JSON files whose values need not be equal."""


# The pages of the gates, which hold the time.
_PAGES = ("quality*",)

COMMANDS = {
    "score": Command(
        arguments=("score", "../p.tsv.gz", "--features", "--format", "tsv", "--out", "out"),
        left_out=(".lock", "timing.json"),
    ),
    "fill": Command(
        arguments=("fill", "../p.tsv.gz", "--min-precision", "0.1", "--out", "out"),
        left_out=("scores/.lock", "scores/timing.json"),
    ),
    "train": Command(
        arguments=(
            *("train", "../p.tsv.gz", "--layers", "3,4", "--k", "4", "--d-sae", "64"),
            *("--n-vectors", "20480", "--batch-size", "64", "--checkpoint-minutes", "0.02"),
            *("--no-register", "--out", "out"),
        ),
        # Times, the run's id and the pace; the bundle's files are compared themselves.
        left_out=(*_PAGES, "*/README.md", "checkpoints/*"),
        volatile=("created", "train_run", "pace", "files"),
    ),
    "evaluate": Command(
        arguments=(
            *("evaluate", "../p.tsv.gz", "--model", "ready", "--baselines", "none", "--no-probes"),
            *("--bootstrap", "20", "--fidelity-proteins", "4", "--min-instances", "3"),
            *("--no-register", "--out", "out"),
        ),
        left_out=(*_PAGES, "*/README.md"),
        volatile=("created", "train_run", "files"),
    ),
    "report": Command(
        arguments=(
            *("report", "../p.tsv.gz", "--model", "ready", "--n-features", "2", "--no-llm"),
            *("--out", "out"),
        ),
        left_out=_PAGES,
    ),
}


@dataclass(kw_only=True)
class Row:
    """What came of the kills of one command."""

    seconds: float
    folders: int = 0
    kills: int = 0
    failures: list[str] = field(default_factory=list)


def start(arguments: Sequence[str], place: Path) -> BaseProcess:
    """Start a command in a working folder."""
    place.mkdir(exist_ok=True)
    log = place / "output.log"
    return forked.start(
        [*arguments, "--device", "cpu", "--quiet"],
        place,
        out=log,
        err=log,
        store=f"sqlite:///{place.parent / 'mlflow.db'}",
        prepare=small_parts,
    )


def finish(arguments: Sequence[str], place: Path) -> float:
    """Run a command to its end; return the seconds."""
    started = time.perf_counter()
    process = start(arguments, place)
    process.join()
    if process.exitcode:
        log = (place / "output.log").read_text(errors="replace").splitlines()
        raise RuntimeError(f"exit code {process.exitcode}: {log[-1] if log else ''}")
    return time.perf_counter() - started


def kill_after(arguments: Sequence[str], place: Path, seconds: float) -> bool:
    """Start a command and kill it after a time; return whether it still ran."""
    process = start(arguments, place)
    process.join(seconds)
    was_running = process.exitcode is None
    process.kill()
    process.join()
    return was_running


def contents(out: Path, command: Command) -> dict[str, Any]:
    """Return what a command left that must be equal, by path."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_dir() or any(fnmatch(name, pattern) for pattern in command.left_out):
            continue
        if path.suffix == ".json" and command.volatile:
            found[name] = _without(json.loads(path.read_text()), command.volatile)
        else:
            found[name] = path.read_bytes()
    return found


def _without(value: Any, keys: Sequence[str]) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, keys) for k, v in value.items() if k not in keys}
    return [_without(item, keys) for item in value] if isinstance(value, list) else value


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the paths that are not the same in both."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def kill_repeatedly(command: Command, folder: Path, n_kills: int, seed: int) -> Row:
    """Kill a command so often, in as many output folders as that takes."""
    rng = random.Random(seed)
    # The first run makes MLflow's database, which takes time that no later run needs.
    finish(command.arguments, folder / "first")
    row = Row(seconds=finish(command.arguments, folder / "undisturbed"))
    wanted = contents(folder / "undisturbed" / "out", command)
    while row.kills < n_kills:
        place = folder / f"killed{row.folders}"
        row.folders += 1
        moments = []
        try:
            while row.kills < n_kills and (not moments or rng.random() < 2 / 3):
                moments.append(rng.uniform(0.0, 1.0) * row.seconds)
                if not kill_after(command.arguments, place, moments[-1]):
                    break
                row.kills += 1
            finish(command.arguments, place)
            found = differences(wanted, contents(place / "out", command))
        except RuntimeError as error:
            found = [str(error)]
        if found:
            when = ", ".join(f"{moment:.1f}" for moment in moments)
            row.failures.append(f"killed after {when} s: {', '.join(found[:5])}")
        shutil.rmtree(place)
    return row


def write_proteins(folder: Path, n_proteins: int) -> None:
    """Write the proteins."""
    table = pl.read_csv(SAMPLE, separator="\t", infer_schema=False, quote_char=None)
    short = table.filter(pl.col("Sequence").str.len_chars() < 120)[:n_proteins]
    text = short.write_csv(separator="\t", quote_style="never")
    (folder / "p.tsv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=20, help="kills of each command")
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--proteins", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    failed = False
    print("| command | undisturbed, s | kills | folders | equal in the end |")
    print("| --- | ---: | ---: | ---: | ---: |", flush=True)
    for name in given.only:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            write_proteins(folder, given.proteins)
            row = kill_repeatedly(COMMANDS[name], folder, given.n, given.seed)
        equal = f"{row.folders - len(row.failures)} of {row.folders}"
        print(
            f"| {name} | {row.seconds:.1f} | {row.kills} | {row.folders} | {equal} |",
            flush=True,
        )
        for failure in row.failures:
            print(f"{name}: {failure}", file=sys.stderr, flush=True)
        failed |= bool(row.failures)
    sys.exit(failed)


if __name__ == "__main__":
    main()
