"""Commands that fill their disk: one line, an exit code, and they go on once there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from cli_process import CliProcess
from scoring_fakes import contents, proteome, write_fasta
from tiny_training import train_tiny

from plmsae.workflows.shared.swissprot_sample import SAMPLE

pytestmark = pytest.mark.slow

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"a disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill_up(disk: Path, left: int) -> Path:
    """Leave so many bytes; return the file to remove for more."""
    filler = disk / "filler"
    stat = os.statvfs(disk)
    filler.write_bytes(b"x" * (stat.f_bavail * stat.f_frsize - left))
    return filler


def room(*places: Path) -> int:
    """How many bytes of a disk the files of some folders take."""
    files = (path for place in places for path in place.rglob("*") if path.is_file())
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in files)


def command(folder: Path, *given: str) -> CliProcess:
    process = CliProcess([*given, "--device", "cpu", "--quiet"], folder)
    process.wait(900)
    return process


def says_so(done: CliProcess, place: Path) -> None:
    said = done.said()
    assert done.wait() == 2, said
    (line,) = [line for line in said.splitlines() if line.startswith("plmsae: error")]
    assert str(place) in line
    assert "no space is left on the disk; make room, then run the same command to continue" in line
    assert "Traceback" not in said


def test_scoring_says_that_the_disk_is_full_and_goes_on(disk: Path, tmp_path: Path) -> None:
    write_fasta(tmp_path / "p.fasta", proteome(40, bad=False))
    given = ["score", "p.fasta", "--features", "--no-validate", "--out"]
    command(tmp_path, *given, "whole").finish()
    whole = contents(tmp_path / "whole")
    # Too little for the files of the features, enough for what comes before them.
    filler = fill_up(disk, sum(map(len, whole.values())) // 2)
    says_so(command(tmp_path, *given, str(disk / "out")), disk / "out")
    assert not list((disk / "out").rglob("*.tmp*"))
    filler.unlink()
    command(tmp_path, *given, str(disk / "out")).finish()
    assert contents(disk / "out") == whole


def test_training_says_that_the_disk_is_full_and_goes_on(disk: Path, tmp_path: Path) -> None:
    write_fasta(tmp_path / "p.fasta", proteome(40, bad=False))
    given = ["train", "p.fasta", "--layers", "2", "--k", "4", "--d-sae", "256", "--no-register"]
    given += ["--n-vectors", "12800", "--batch-size", "64", "--checkpoint-minutes", "0.001"]
    given += ["--out"]
    command(tmp_path, *given, "whole").finish()
    filler = fill_up(disk, MIB // 4)  # a checkpoint needs more
    says_so(command(tmp_path, *given, str(disk / "out")), disk / "out")
    filler.unlink()
    command(tmp_path, *given, str(disk / "out")).finish()
    weights = [
        (at / "L2/bundle/sae/sae_weights.safetensors").read_bytes()
        for at in (tmp_path / "whole", disk / "out")
    ]
    assert weights[0] == weights[1]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A UniProt table of short proteins."""
    path = tmp_path_factory.mktemp("short") / "p.tsv"
    table = pl.read_csv(SAMPLE, separator="\t", infer_schema=False, quote_char=None)
    few = table.filter(pl.col("Sequence").str.len_chars() < 120)[:40]
    few.write_csv(path, separator="\t", quote_style="never")
    return path


def test_filling_says_that_the_disk_is_full_and_goes_on(
    disk: Path, tmp_path: Path, short: Path
) -> None:
    given = ["fill", str(short), "--min-precision", "0.1", "--no-validate", "--out"]
    command(tmp_path, *given, "whole").finish()
    whole = contents(tmp_path / "whole")
    # First too little for the scores, then for what is made of them.
    scores = room(tmp_path / "whole" / "scores")
    # A run that goes on writes run.json and the lock anew: two blocks more.
    for enough in (scores // 2, scores + 8192):
        filler = fill_up(disk, enough - room(disk / "out"))
        says_so(command(tmp_path, *given, str(disk / "out")), disk / "out")
        assert not list((disk / "out").rglob("*.tmp*"))
        filler.unlink()
    assert (disk / "out" / "scores" / "manifest.json").exists()
    command(tmp_path, *given, str(disk / "out")).finish()
    assert contents(disk / "out") == whole


def test_evaluating_says_that_the_disk_is_full_and_goes_on(disk: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
        train_tiny(tmp_path)
    given = ["evaluate", "data/annotations.tsv.gz", "--model", "train/L2/bundle"]
    given += ["--min-instances", "5", "--baselines", "none", "--bootstrap", "20", "--no-register"]
    given += ["--fidelity-proteins", "8", "--no-probes", "--keep-encoded", "--out"]
    command(tmp_path, *given, "whole").finish()
    whole = tmp_path / "whole"
    quality, encoded = room(whole / "quality-labels"), room(whole / "encoded")
    results = room(whole) - quality - encoded
    # First too little for the encoded proteins, then for what is found of them.
    for enough in (quality + encoded // 2, quality + encoded + results // 2):
        # Its pages are made anew beside those that are there.
        shutil.rmtree(disk / "out" / "quality-labels", ignore_errors=True)
        filler = fill_up(disk, enough - room(disk / "out"))
        says_so(command(tmp_path, *given, str(disk / "out")), disk / "out")
        assert not list((disk / "out").rglob("*.tmp*"))
        filler.unlink()
    command(tmp_path, *given, str(disk / "out")).finish()
    for name in ("features.parquet", "concepts.parquet", "callers.json"):
        one, other = (at / "bundle" / name for at in (whole, disk / "out"))
        assert one.read_bytes() == other.read_bytes(), name


def test_reporting_says_that_the_disk_is_full_and_goes_on(
    disk: Path, tmp_path: Path, short: Path
) -> None:
    given = ["report", str(short), "--model", "ready", "--n-features", "3", "--no-llm", "--out"]
    command(tmp_path, *given, "whole").finish()
    filler = fill_up(disk, room(tmp_path / "whole") // 2)
    says_so(command(tmp_path, *given, str(disk / "out")), disk / "out")
    assert not list((disk / "out").rglob("*.tmp*"))
    filler.unlink()
    command(tmp_path, *given, str(disk / "out")).finish()
    written, expected = (
        # The pages of the gates say when they were made.
        {name: data for name, data in contents(at).items() if not name.startswith("quality-")}
        for at in (disk / "out", tmp_path / "whole")
    )
    assert written == expected
