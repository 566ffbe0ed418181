"""The features command on what a real PLM and SAE wrote."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from tiny_training import train_tiny

from plmsae.bundle.reading import read_bundle
from plmsae.cli.app import run as plmsae
from plmsae.workflows.features import by_protein, stretches


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        train_tiny(folder)
        given = ["score", "data/heldout.fasta.gz", "--model", "train/L2/bundle", "--features"]
        assert plmsae([*given, "--no-validate", "--out", "annotated", "--quiet"]) == 0
    return folder


def every(place: Path) -> pl.DataFrame:
    return pl.read_parquet(place / "annotated/features/*.parquet")


def test_proteins_of_a_latent_are_listed_the_highest_first(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    counts = every(place)["latent"].value_counts(sort=True)
    one, two = counts["latent"][0], counts["latent"][-1]
    given = ["features", "annotated", "--latent", str(one), "--latent", str(two), "--json"]
    assert plmsae([*given, "--top", "3", "-o", "residues.tsv", "-m", "train/L2/bundle"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [entry["latent"] for entry in said["latents"]] == sorted([one, two])
    for entry in said["latents"]:
        rows = every(place).filter(latent=entry["latent"])
        assert entry["n_residues"] == rows.height
        assert entry["n_proteins"] == rows["accession"].n_unique()
        best = rows.sort("activation", descending=True).row(0, named=True)
        first = entry["proteins"][0]
        assert (first["accession"], first["maximum"]) == (best["accession"], best["activation"])
        assert best["position"] in first["positions"]
    written = pl.read_csv(place / "residues.tsv", separator="\t")
    assert written.height == every(place).filter(pl.col("latent").is_in([one, two])).height
    # The concept is the model's own.
    row = read_bundle(place / "train/L2/bundle").features.row(one, named=True)
    (entry,) = (entry for entry in said["latents"] if entry["latent"] == one)
    assert (entry["concept"] or "").startswith(row["concept"] or "")


def test_the_table_names_positions_and_says_how_many_more(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    latent = every(place)["latent"].value_counts(sort=True)["latent"][0]
    assert plmsae(["features", "annotated", "--latent", str(latent), "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = by_protein(every(place).filter(latent=latent))
    assert lines[0].startswith(f"latent {latent} (")
    assert lines[2].split()[:2] == [rows["accession"][0], f"{rows['maximum'][0]:.3g}"]
    assert lines[2].split()[2].strip(",") == stretches(rows["positions"][0].to_list())[0]
    assert lines[-1].strip() == f"… and {rows.height - 2:,} more proteins; --top shows more"


def test_low_activations_are_left_out_when_asked(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    rows = every(place)
    latent = rows["latent"].value_counts(sort=True)["latent"][0]
    bound = rows.filter(latent=latent)["activation"].median()
    given = ["features", "annotated", "--latent", str(latent), "--min-activation", str(bound)]
    assert plmsae([*given, "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["latents"]
    kept = rows.filter(pl.col("latent") == latent, pl.col("activation") >= bound)
    assert entry["n_residues"] == kept.height > 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["annotated", "--latent", "48"], "latents of this model are 0 to 47"),
        (["annotated", "--latent", "x"], "not a list of whole numbers"),
        (["annotated", "--latent", "1", "--top", "0"], "must be at least 1"),
        (["annotated", "--latent", "1", "-o", "x.doc"], "cannot tell the format"),
        (["annotated", "--latent", "1", "-m", "ready"], "not the model that scored"),
        (["data", "--latent", "1"], "not a score folder"),
    ],
)
def test_wrong_arguments_are_named(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(place)
    assert plmsae(["features", *given]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert message in line


def test_positions_are_written_as_stretches() -> None:
    assert stretches([3, 4, 5, 9]) == ["3-5", "9"]
    assert stretches([]) == []
