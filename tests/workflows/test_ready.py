"""The model that comes with plmsae."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import polars as pl
import pytest

from plmsae.bundle.card import model_card
from plmsae.cli.app import run
from plmsae.concepts.calling.calibration import called
from plmsae.core.resources import READY, ready_model
from plmsae.plm.model import load_plm
from plmsae.registry.models import resolve
from plmsae.workflows.shared.swissprot_sample import SAMPLE


def test_it_belongs_to_the_plm_that_ships_and_is_small():
    bundle = resolve(READY)
    plm = load_plm(bundle.meta.plm, device="cpu")
    assert bundle.meta.plm == "plmsae-mini"
    assert bundle.meta.plm_revision == plm.revision
    assert bundle.meta.plm_vocabulary == plm.vocabulary.fingerprint
    size = sum(path.stat().st_size for path in ready_model().rglob("*") if path.is_file())
    assert size < 8e6


def test_its_card_is_todays_and_its_commands_name_it():
    bundle = resolve(READY)
    assert bundle.card == model_card(bundle, READY)
    assert "plmsae score proteome.fasta --model ready --out scored" in bundle.card
    assert "challenger" not in bundle.card


def test_it_was_measured_on_real_proteins_and_says_what_it_can_call():
    bundle = resolve(READY)
    assert bundle.meta.eval_data.source.startswith("swissprot_")
    callable_ones = bundle.concepts.filter(called(bundle.concepts, bundle.meta.min_precision))
    assert callable_ones["concept"].to_list() == ["Signal peptide", "Transmembrane: Helical"]
    assert bundle.meta.metrics["n_concepts_callable"] == callable_ones.height
    assert callable_ones["call_precision_low"].min() >= bundle.meta.min_precision


def test_the_calls_that_the_documents_count_are_those_of_its_table():
    spans = resolve(READY).concepts.filter(pl.col("kind") == "span")
    page = (Path(__file__).parents[2] / "docs" / "reference" / "calls.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| shipped model: (.+?), whole protein.* \| (.+?) \|$", page, re.M))
    assert f"each of its {spans.height} span concepts" in page
    calling = spans.filter(pl.col("n_calls") > 0)
    own = calling.filter(called(calling, 0.5))
    for row, concepts in (
        ("Helix", calling.filter(concept="Helix")),
        (f"the {calling.height} span concepts with calls, withheld ones too", calling),
        ("what it may write (transmembrane helices, signal peptides)", own),
    ):
        n = concepts["n_calls"].sum()
        assert f" of {n:,}" in rows[row]
        shares = re.findall(r"([\d.]+) %", rows[row])
        for name, share in zip(("whole_share", "one_residue_share"), shares, strict=False):
            found = (concepts[name] * concepts["n_calls"]).sum() / n
            assert float(share) == pytest.approx(100 * found, abs=0.005)


def test_proteins_are_scored_without_naming_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    table = pl.read_csv(SAMPLE, separator="\t", infer_schema=False, quote_char=None)
    some = table.filter(pl.col("Transmembrane").is_not_null())[:30]
    fasta = "".join(f">{entry}\n{seq}\n" for entry, seq in some.select("Entry", "Sequence").rows())
    Path("proteins.fasta.gz").write_bytes(gzip.compress(fasta.encode()))
    assert run(["score", "proteins.fasta.gz"]) == 0
    printed = capsys.readouterr()
    said = printed.out + printed.err
    assert "using the model that comes with plmsae" in said
    assert "measured on" in said
    annotations = pl.read_parquet("runs/score/annotations/*.parquet")
    assert annotations.height > 0
    assert annotations["precision_low"].min() >= 0.5
    # What the card lists and counts as called is what is written; a class is only implied.
    assert "2 concepts can be called" in said
    assert set(annotations["concept"]) <= {"Signal peptide", "Transmembrane: Helical"}
    assert "Transmembrane" in set(annotations["implied"].explode())
