"""What commands that check something say as JSON: every verdict, also where a gate stops them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scoring_fakes import FakeBundle, FakeEncoder, write_fasta

from plmsae.cli.app import run
from plmsae.scoring import encoding
from plmsae.tracking.store import client
from plmsae.tracking.summary import NOTE, PAGE
from plmsae.workflows import fill, score

LETTERS = list("ACDFGIMNPQRSTVY")  # of which the model calls nothing


def proteins(n: int = 30) -> list[tuple[str, str]]:
    """Proteins of 60 to 100 residues, each with a stretch that is a coiled coil to the model."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(n):
        before, after = ("".join(rng.choice(LETTERS, rng.integers(26, 46))) for _ in range(2))
        made.append((f"P{i:05d}", f"M{before}LLLLLLLL{after}"))
    return made


Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@dataclass(frozen=True, kw_only=True)
class NamedBundle(FakeBundle):
    name: str = "fake"


@pytest.fixture(autouse=True)
def _fake_model(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    for module in (score, fill):
        monkeypatch.setattr(module, "resolve_exactly", lambda _: (NamedBundle(), "fake/1"))
    monkeypatch.setattr(encoding, "load_encoder", lambda *_, **__: FakeEncoder())


def printed(capsys: Captured, command: list[str], code: int = 0) -> dict[str, Any]:
    assert run([*command, "--json"]) == code
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def check(verdicts: dict[str, Any], kind: str, *, success: bool = True) -> None:
    assert (verdicts["kind"], verdicts["success"]) == (kind, success)
    assert Path(verdicts["summary"]).is_file()
    assert ("failed" in verdicts["expectations"].values()) is not success
    assert set(verdicts["expectations"].values()) <= {"passed", "failed", "warning", "unchecked"}


def check_summary(experiment: str, *texts: str) -> None:
    """Find texts in the description of the run, and its page among the artifacts."""
    store = client()
    known = store.get_experiment_by_name(experiment)
    (run,) = store.search_runs([known.experiment_id])
    for text in (*texts, "quality of the proteins", "fake/1"):
        assert text in run.data.tags[NOTE]
    assert PAGE in [file.path for file in store.list_artifacts(run.info.run_id)]


def test_score_gives_counts_reasons_paths_and_verdicts(capsys: Captured, tmp_path: Path) -> None:
    write_fasta(tmp_path / "p.fasta", proteins())
    found = printed(
        capsys,
        ["score", "p.fasta", "-m", "fake", "-o", "out", "--min-precision", "0.7", "-f", "tsv"],
    )
    check(found["quality"]["proteins"], "proteins")
    check(found["quality"]["annotations"], "annotations")
    assert sum(found["n_by_concept"].values()) == found["n_annotations"] > 0
    assert set(found["abstained"]) == {"Active site", "Binding site: ATP"}
    assert Path(found["exported"]).is_file()
    manifest = json.loads(Path(found["manifest"]).read_text())
    assert manifest["n_by_concept"] == found["n_by_concept"]
    assert manifest["abstained"] == found["abstained"]

    check_summary("plmsae-score", f"| annotations | {found['n_annotations']:,} |", "Coiled coil")

    exported = printed(capsys, ["export", "out", "-o", "a.gff3"])
    assert exported == {
        **{"folder": "out", "exported": "a.gff3", "format": "gff3"},
        "n_annotations": found["n_annotations"],
    }
    assert Path("a.gff3").is_file()
    assert run(["export", "out", "-o", "-", "-f", "tsv", "--json"]) == 2
    assert "--json with --out -" in capsys.readouterr().err


def test_fill_gives_counts_and_verdicts(capsys: Captured, tmp_path: Path) -> None:
    rows = "".join(f"{name}\t{len(s)}\t{s}\t\n" for name, s in proteins())
    (tmp_path / "t.tsv").write_text("Entry\tLength\tSequence\tCoiled coil\n" + rows)
    found = printed(
        capsys,
        ["fill", "t.tsv", "-m", "fake", "-o", "out", "--min-precision=0.5", "--missing-share=1"],
    )
    check(found["quality"]["proteins"], "proteins")
    check(found["quality"]["proposals"], "proposals")
    assert sum(found["n_by_concept"].values()) == found["n_proposed"] > 0
    assert found["n_proposed"] == pl.read_csv(found["proposals"], separator="\t").height
    check_summary("plmsae-fill", f"| Coiled coil | {found['n_proposed']:,} proposals |")


def test_proposals_of_a_folder_are_held_against_the_precision_that_was_asked_for(
    capsys: Captured, tmp_path: Path
) -> None:
    rows = "".join(f"{name}\t{len(s)}\t{s}\t\n" for name, s in proteins())
    (tmp_path / "t.tsv").write_text("Entry\tLength\tSequence\tCoiled coil\n" + rows)
    command = ["fill", "t.tsv", "-m", "fake", "-o", "out", "--missing-share=1"]
    printed(capsys, [*command, "--min-precision=0.5"])
    asked = json.loads(Path("out/manifest.json").read_text())
    assert (asked["model_uri"], asked["min_precision"]) == ("fake/1", 0.5)
    low = pl.read_parquet("out/proposals")["precision_low"].min()

    def state(precision: object) -> str:
        Path("out/manifest.json").write_text(json.dumps(asked | {"min_precision": precision}))
        found = printed(capsys, ["validate", "out", "-o", "checks"])
        return str(found["expectations"]["worth_proposing"])

    assert state(low) == "passed"
    assert state(low + 0.01) == "warning"
    Path("out/manifest.json").write_text(json.dumps(asked | {"min_precision": "much"}))
    assert run(["validate", "out", "-o", "checks"]) == 2
    assert "out/manifest.json: min_precision is no number" in capsys.readouterr().err


def test_what_a_gate_stops_gives_its_verdicts_too(capsys: Captured, tmp_path: Path) -> None:
    write_fasta(tmp_path / "p.fasta", [*proteins(5), ("B1", ""), ("B2", "")])
    stopped = printed(capsys, ["score", "p.fasta", "-m", "fake", "-o", "out"], code=3)
    check(stopped["quality"]["proteins"], "proteins", success=False)
    checked = printed(capsys, ["validate", "p.fasta", "-o", "checks"], code=3)
    check(checked, "proteins", success=False)
    assert checked["expectations"] == stopped["quality"]["proteins"]["expectations"]
    assert run(["score", "p.fasta", "-m", "fake", "-o", "out"]) == 3
    assert capsys.readouterr().out == ""
