"""models, promote and export: tables, gates and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from tiny_bundle import METRICS

from plmsae.bundle.reading import Bundle
from plmsae.cli.app import run
from plmsae.registry import models, promotion

Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch

NAME = "plmsae.plmsae-mini.L4.residue"


def registered() -> pl.DataFrame:
    row: dict[str, Any] = {
        **{"name": NAME, "version": "2", "aliases": ["champion"], "plm": "plmsae-mini"},
        **{"layer": 4, "unit": "residue", "arch": "topk", "d_sae": 2560, "k": 32},
        **dict.fromkeys(models.HEADLINE_METRICS, 0.25),
        **{"created": datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "model_id": "m-1", "run_id": "r"},
    }
    other = {**row, "version": "1", "aliases": [], "loss_recovered": None}
    return pl.DataFrame([row, other])


def test_models_lists_what_is_registered(monkeypatch: Patch, capsys: Captured) -> None:
    monkeypatch.setattr(models, "list_models", registered)
    assert run(["models"]) == 0
    head, _, first, second = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["model", "aliases"]
    assert first.startswith(f"{NAME}/2")
    assert {"@champion", "topk", "2560", "0.25", "2026-01-02"} <= set(first.split())
    assert "–" in second


def test_models_can_be_narrowed_by_part_of_the_name(monkeypatch: Patch, capsys: Captured) -> None:
    monkeypatch.setattr(models, "list_models", registered)
    assert run(["models", "@champion", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["model"] == f"{NAME}/2"
    assert run(["models", "esm2"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no model that matches 'esm2' is registered" in captured.err


def test_history_shows_who_promoted_what(monkeypatch: Patch, capsys: Captured) -> None:
    def log(name: str) -> pl.DataFrame:
        assert name == NAME
        moves = {"at": "2026-01-02T03:04:05+00:00", "by": "ann", "to": "2", "forced": True}
        return pl.DataFrame([{**moves, "from": None, "reason": "a trial", "gates": "[]"}])

    monkeypatch.setattr(promotion, "promotion_log", log)
    assert run(["models", "--history", NAME]) == 0
    head, _, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["at", "(UTC)", "by", "from", "to", "forced", "reason"]
    assert row.split() == ["2026-01-02T03:04:05+00:00", "ann", "–", "2", "yes", "a", "trial"]
    assert run(["models", "--history", NAME, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["gates"] == []


@pytest.mark.parametrize("command", [["models", "--compare"], ["compare"]])
def test_compare_puts_models_side_by_side(
    monkeypatch: Patch, capsys: Captured, command: list[str]
) -> None:
    def compare(refs: list[str]) -> pl.DataFrame:
        return pl.DataFrame({"model": refs, "plm": ["a", "b"], "explained_variance": [0.5, None]})

    monkeypatch.setattr(models, "compare", compare)
    assert run([*command, f"{NAME}@champion", f"{NAME}/1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [f"{NAME}@champion", f"{NAME}/1", "meaning"]
    assert lines[2].split() == ["plm", "a", "b"]
    assert lines[3].split()[:4] == ["explained_variance", "0.5", "–", "share"]


def test_compare_shows_the_headline_and_all_on_request(
    monkeypatch: Patch, capsys: Captured
) -> None:
    def compare(refs: list[str]) -> pl.DataFrame:
        metrics = {"explained_variance": [0.5, 0.6], "kl": [0.1, 0.2]}
        metrics["sae_features_f1_50_high"] = [204.7, 98.2]
        return pl.DataFrame({"model": refs, "plm": ["a", "b"], **metrics})

    monkeypatch.setattr(models, "compare", compare)
    assert run(["compare", f"{NAME}/1", f"{NAME}/2"]) == 0
    captured = capsys.readouterr()
    assert "kl" not in captured.out
    assert captured.err == "2 more metrics: --all\n"
    assert run(["compare", f"{NAME}/1", f"{NAME}/2", "--all"]) == 0
    captured = capsys.readouterr()
    assert "divergence of the predictions" in captured.out
    assert ["205", "98"] in [line.split()[1:3] for line in captured.out.splitlines()]
    assert captured.err == ""


def test_on_80_columns_the_references_stay_whole(monkeypatch: Patch, capsys: Captured) -> None:
    from plmsae.cli import tables

    monkeypatch.setattr(models, "list_models", registered)
    monkeypatch.setattr(tables, "_terminal_width", lambda: 80)
    assert run(["models"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split() == ["1", f"{NAME}/2", "@champion"]
    assert lines[1].split()[1] == f"{NAME}/1"
    assert "features" in lines[3]
    assert "concepts" in lines[3]
    assert "expl." in lines[3]
    assert "loss" in lines[3]
    assert max(map(len, lines)) <= 80


def test_compare_keeps_references_and_names_of_metrics_whole_on_80_columns(
    monkeypatch: Patch, capsys: Captured
) -> None:
    from plmsae.cli import tables

    def compare(refs: list[str]) -> pl.DataFrame:
        metrics = {"n_concepts_callable": [2.0, 3.0], "neuron_concepts_f1_50": [5.0, 6.0]}
        return pl.DataFrame({"model": refs, "plm": ["plmsae-mini", "esm2-8m"], **metrics})

    monkeypatch.setattr(models, "compare", compare)
    monkeypatch.setattr(tables, "_terminal_width", lambda: 80)
    assert run(["compare", f"{NAME}/1", f"{NAME}@challenger"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["1", f"{NAME}/1"] in lines
    assert ["2", f"{NAME}@challenger"] in lines
    assert ["neuron_concepts_f1_50", "5", "6"] in [line[:3] for line in lines]


@pytest.fixture
def candidates(make_bundle: Callable[..., Bundle], store_uri: str) -> Callable[..., Bundle]:
    """A champion, version 1, in a real store; more can be made."""
    models.register(make_bundle())
    promotion.promote(f"{NAME}/1")
    return make_bundle


def test_promote_shows_both_models_and_every_gate_and_exits_with_3_if_one_fails(
    candidates: Callable[..., Bundle], capsys: Captured
) -> None:
    models.register(candidates(metrics={**METRICS, "dead_share": 0.5}))
    assert run(["promote", f"{NAME}@challenger"]) == 3
    captured = capsys.readouterr()
    lines = [line.split() for line in captured.out.splitlines()]
    assert captured.out.startswith("measured on the same 4 proteins of report.tsv.gz")
    assert ["dead_share", "0.02", "0.5", "champion"] in lines
    assert ["explained_variance", "0.9", "0.9", "equal"] in lines
    assert ["not", "met", "dead_share", "<=", "0.3", "0.5"] in lines
    assert "plmsae: error: quality gate failed: expected dead_share <= 0.3" in captured.err


def test_promote_does_not_rank_what_was_measured_on_other_data(
    candidates: Callable[..., Bundle], capsys: Captured
) -> None:
    models.register(candidates(eval_data=None))
    assert run(["promote", NAME]) == 3
    captured = capsys.readouterr()
    assert "only one of them says on what it was measured; not ranked" in captured.out
    assert ["dead_share", "0.02", "0.02", "–"] in [s.split() for s in captured.out.splitlines()]
    assert run(["promote", NAME, "--force"]) == 2
    assert "add --reason TEXT" in capsys.readouterr().err
    assert run(["promote", NAME, "--force", "--reason", "older data are gone"]) == 0
    said = f"{NAME}/2 is champion now (forced, though gates are not met); before it was version 1"
    assert said in capsys.readouterr().out
    assert run(["models", "--history", NAME]) == 0
    assert "older data are gone" in capsys.readouterr().out


def test_promote_gives_its_verdicts_as_json_when_it_refuses_too(
    candidates: Callable[..., Bundle], capsys: Captured
) -> None:
    models.register(candidates(metrics={**METRICS, "dead_share": 0.5}))
    assert run(["promote", NAME, "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["promoted"], found["gates_met"]) == (False, False)
    failed = [row["expected"] for row in found["gates"] if not row["met"]]
    assert failed == ["dead_share <= 0.3"]
    assert found["comparison"]["same_data"]
    assert run(["promote", f"{NAME}/1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparison"] is None


def test_promote_says_what_it_did(candidates: Callable[..., Bundle], capsys: Captured) -> None:
    assert run(["promote", f"{NAME}/1"]) == 0
    assert f"{NAME}/1 is champion already" in capsys.readouterr().out
    models.register(candidates())
    assert run(["promote", NAME, "--quiet"]) == 0
    assert capsys.readouterr().out == (f"{NAME}/2 is champion now; before it was version 1\n")


@pytest.mark.parametrize(
    ("name", "options", "format"),
    [("a.gff3", [], "gff3"), ("a.tsv", [], "tsv"), ("-", ["--format", "jsonl"], "jsonl")],
)
def test_export_finds_the_format_from_the_name(
    name: str, options: list[str], format: str, monkeypatch: Patch
) -> None:
    import plmsae.scoring.export as module

    calls = SimpleNamespace(made=[])

    def export(folder: str, format: str, target: str) -> int:
        calls.made.append((folder, format, target))
        return 3

    monkeypatch.setattr(module, "export", export)
    assert run(["export", "scored", "-o", name, *options]) == 0
    assert calls.made == [("scored", format, name)]


def test_a_folder_that_was_never_scored_is_named(tmp_path: Path, capsys: Captured) -> None:
    assert run(["export", str(tmp_path), "-o", "-", "-f", "tsv"]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_a_registry_that_is_empty_says_how_to_fill_it(monkeypatch: Patch, capsys: Captured) -> None:
    monkeypatch.setattr(models, "list_models", lambda: registered().clear())
    assert run(["models"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "plmsae train makes one" in captured.err
