"""What docs/scale.md says of results is done on results."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from scoring_fakes import FakeBundle, FakeEncoder, proteome, table, write_fasta

from plmsae.scoring.engine import score

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    source = write_fasta(folder / "in.fasta", proteome(60))
    bundle = FakeBundle()
    score(
        source,
        bundle,
        folder / "annotated",
        model_uri="fake/1",
        encoder=FakeEncoder(),
        part_residues=400,
    )
    return folder


def value_of(library: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the page's block that imports a library; return the value of its last line."""
    pytest.importorskip(library)
    (block,) = [block for block in BLOCKS if f"import {library}" in block]
    monkeypatch.chdir(place)
    *lines, last = ast.parse(block).body
    assert isinstance(last, ast.Expr)
    names: dict[str, Any] = {}
    exec(compile(ast.Module(lines, []), PAGE.name, "exec"), names)
    return eval(compile(ast.Expression(last.value), PAGE.name, "eval"), names)


def test_polars_counts_calls_by_concept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = value_of("polars", place, monkeypatch)
    wanted = table(place / "annotated", "annotations").group_by("concept").len()
    assert found.sort("concept").equals(wanted.sort("concept"))
    assert found.height > 1


def test_pandas_takes_the_sure_calls(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = value_of("pandas", place, monkeypatch)
    every = table(place / "annotated", "annotations")
    assert len(found) == (every["precision_low"] > 0.5).sum()
    assert 0 < len(found) < every.height


def test_duckdb_counts_calls_by_protein(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = value_of("duckdb", place, monkeypatch)
    wanted = table(place / "annotated", "annotations")["accession"].value_counts()
    assert dict(found.iter_rows()) == dict(wanted.iter_rows())
