"""The gates on how long calls are: each with calls that must fail it, and calls that must not."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from plmsae.core.errors import QualityError
from plmsae.quality.validation import ValidationReport, raise_if_critical, validate

N = 40
PROTEINS = pl.DataFrame({"accession": [f"P{i}" for i in range(N)], "length": [100] * N})


def concepts(whole: float = 0.0, one: float = 0.0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "concept": ["Helix", "Active site"],
            "kind": ["span", "site"],
            "label_whole_share": [whole, 0.0],
            "label_one_residue_share": [one, 1.0],
        }
    )


def calls(start: int, end: int, n: int = N, concept: str = "Helix") -> pl.DataFrame:
    """The first `n` proteins have a call of start..end, the others one of 20..39."""
    return pl.DataFrame(
        {
            "accession": PROTEINS["accession"],
            "start": [start if i < n else 20 for i in range(N)],
            "end": [end if i < n else 39 for i in range(N)],
            "concept": [concept] * N,
            "score": [0.5] * N,
            "precision": [0.9] * N,
            "precision_low": [0.8] * N,
            "model_uri": ["m/1"] * N,
        }
    )


def check(
    table: pl.DataFrame, out: Path, known: object = None, kind: str = "annotations"
) -> ValidationReport:
    context = {"proteins": PROTEINS, "concepts": concepts() if known is None else known}
    return validate(kind, table, out_dir=out, context=context)


def critical(report: ValidationReport) -> set[str]:
    return {result.name for result in report.of("failed")}


@pytest.mark.parametrize("kind", ["annotations", "proposals"])
def test_calls_of_whole_proteins_stop_the_run(tmp_path: Path, kind: str) -> None:
    report = check(calls(3, 98), tmp_path, kind=kind)
    assert critical(report) == {"no_whole_protein_spans"}
    result = next(r for r in report.results if r.name == "no_whole_protein_spans")
    assert result.examples == ("Helix (40 of 40)",)
    with pytest.raises(QualityError):
        raise_if_critical(report)


@pytest.mark.parametrize("kind", ["annotations", "proposals"])
def test_spans_of_one_residue_stop_the_run(tmp_path: Path, kind: str) -> None:
    report = check(calls(7, 7, n=20), tmp_path, kind=kind)
    assert critical(report) == {"no_one_residue_spans"}
    with pytest.raises(QualityError):
        raise_if_critical(report)


def test_one_bad_concept_is_not_hidden_by_good_ones(tmp_path: Path) -> None:
    good = [calls(20, 39, concept="Active site") for _ in range(9)]
    table = pl.concat([calls(1, 100), *good])
    assert "no_whole_protein_spans" in critical(check(table, tmp_path))


def test_labels_that_are_like_that_excuse_the_calls(tmp_path: Path) -> None:
    assert not critical(check(calls(1, 100), tmp_path / "a", concepts(whole=0.9)))
    assert not critical(check(calls(7, 7, n=20), tmp_path / "b", concepts(one=0.5)))


def test_sites_are_one_residue_long_and_few_odd_calls_stop_nothing(tmp_path: Path) -> None:
    assert not critical(check(calls(7, 7, concept="Active site"), tmp_path / "a"))
    assert not critical(check(calls(1, 100).head(1), tmp_path / "b"))
    assert not critical(check(calls(1, 100, n=4), tmp_path / "c"))


def test_without_kinds_the_lengths_are_unchecked_and_said_to_be(tmp_path: Path) -> None:
    report = check(calls(1, 100), tmp_path, ["Helix"])
    unchecked = {result.name for result in report.of("unchecked")}
    assert {"no_whole_protein_spans", "no_one_residue_spans"} <= unchecked
