"""Inputs that can be read once, output folders with odd names."""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scoring"))
from scoring_fakes import FakeBundle, FakeEncoder, table, write_fasta

from plmsae.core.errors import InputError
from plmsae.quality.sources import open_table
from plmsae.scoring.engine import score
from plmsae.scoring.fill import fill
from plmsae.workflows.report import run as report
from plmsae.workflows.scoring.input_gate import (
    beside,
    check_input,
    parsed_input,
    quality_folder,
    refuse_working_folder,
)
from plmsae.workflows.shared.inputs import read_protein_set
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import ReportRequest, ScoreRequest

GOOD = [("P1", "WWKLHHACDEFGHIKLMNPQRST"), ("P2", "ACDEFWWWGHIKLMNPQRSTVWY")]


def pipe_of(path: Path, text: str) -> Path:
    """A named pipe that somebody writes `text` into once."""
    os.mkfifo(path)
    threading.Thread(target=lambda: path.write_text(text), daemon=True).start()
    return path


def run(source: Path | str, out: Path) -> None:
    score(source, FakeBundle(), out, model_uri="fake/1", encoder=FakeEncoder())


def fasta(records: list[tuple[str, str]]) -> str:
    return "".join(f">{name}\n{sequence}\n" for name, sequence in records)


def test_a_pipe_is_scored_as_the_file_it_carries(tmp_path: Path) -> None:
    run(write_fasta(tmp_path / "x.fasta", GOOD), tmp_path / "file")
    run(pipe_of(tmp_path / "pipe", fasta(GOOD)), tmp_path / "piped")
    for name in ("annotations", "proteins"):
        assert table(tmp_path / "piped", name).equals(table(tmp_path / "file", name))


def test_a_pipe_can_be_trained_on(tmp_path: Path) -> None:
    pipe = pipe_of(tmp_path / "pipe", fasta(GOOD))
    found = read_protein_set(str(pipe), progress=Silent())
    assert [p.accession for p in found.proteins] == ["P1", "P2"]


def test_a_table_is_read_once_and_so_may_come_through_a_pipe(tmp_path: Path) -> None:
    rows = [("Entry", "Sequence", "Domain [FT]"), *((*record, "") for record in GOOD)]
    text = "".join("\t".join(row) + "\n" for row in rows)
    (tmp_path / "x.tsv").write_text(text)
    found = {
        name: fill(source, FakeBundle(), tmp_path / name, model_uri="fake/1", encoder=FakeEncoder())
        for name, source in (
            ("file", tmp_path / "x.tsv"),
            ("piped", pipe_of(tmp_path / "pipe", text)),
        )
    }
    assert found["file"].n_calls > 0
    assert found["piped"].proposals().equals(found["file"].proposals())
    assert found["piped"].proteins.equals(found["file"].proteins)


def test_what_reads_twice_refuses_a_pipe_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody writes: opening it would wait for ever
    request = ReportRequest(model="none", proteins=str(tmp_path / "pipe"))
    with pytest.raises(InputError, match=r"read only once; .*report reads it twice"):
        report(request, Silent())


BAD = [("A", "---"), ("B", "...")]


def test_an_input_without_a_usable_record_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    path = write_fasta(tmp_path / "gaps.fasta", BAD)
    with pytest.raises(InputError, match=r"no record can be used, of 2; the first: illegal char"):
        run(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_so_is_a_pipe_of_such_records_and_the_folder_can_be_used_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no record can be used, of 2; the first: illegal char"):
        run(pipe_of(tmp_path / "gaps", fasta(BAD)), tmp_path / "out")
    run(write_fasta(tmp_path / "x.fasta", GOOD), tmp_path / "out")
    assert table(tmp_path / "out", "proteins").height == 2


def test_standard_input_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(fasta(BAD).encode())))
    with pytest.raises(InputError, match=r"^standard input: no record can be used, of 2"):
        run("-", tmp_path / "out")


def test_a_folder_name_is_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "run [1]" / "a*b?"
    folder.mkdir(parents=True)
    frame = pl.DataFrame({"accession": ["P1"], "length": [3]})
    frame.write_parquet(folder / "part-00000.parquet")
    frame.write_csv(folder / "x[1].tsv", separator="\t")
    assert open_table(folder, what="proteins").scan().collect().height == 1
    assert open_table(folder / "x[1].tsv", what="proteins").scan().collect().height == 1


@pytest.mark.parametrize("out", [".", "", "..", "../here", "/"])
def test_the_working_folder_is_no_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="a folder of its own"):
        refuse_working_folder(Path(out))
    refuse_working_folder(Path("new"))
    refuse_working_folder(Path("../beside"))


def test_what_lies_beside_a_folder_has_its_name_even_where_the_path_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert beside(Path(), "annotations.gff3") == tmp_path / "here-annotations.gff3"
    assert quality_folder(Path("run [1]"), "input") == Path("run [1]-quality/input")


def test_a_file_name_that_is_no_text_is_scored_and_checked(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.fasta")
    path = write_fasta(tmp_path / name, [*GOOD, ("B", "---")])
    run(path, tmp_path / "out")
    assert "caf\\xe9.fasta" in (tmp_path / "out" / "manifest.json").read_text("utf-8").replace(
        "\\\\", "\\"
    )
    assert table(tmp_path / "out", "rejected")["where"][0].startswith("caf\\xe9.fasta, record 3")
    long = [(f"Q{i}", "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGD" + "AC" * i) for i in range(3)]
    untracked: object = None
    odd = str(write_fasta(tmp_path / name, long))
    request = ScoreRequest(proteins=odd, model="", out=tmp_path / "checked")
    with parsed_input(odd, request, Silent()) as parsed:
        assert not isinstance(parsed, str)
        check_input(parsed, odd, request, untracked, Silent())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="must be UTF-8"):
        run(path, tmp_path / os.fsdecode(b"o\xe9"))
