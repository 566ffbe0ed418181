"""Scoring with everything real but the PLM: readers, SAE, bundle, labels, calls, MLflow."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array
from scoring_fakes import LETTERS, Streaming, concept_rows, table

from plmsae.bundle.meta import BundleMeta
from plmsae.bundle.reading import Bundle, read_bundle
from plmsae.bundle.writing import write_bundle
from plmsae.concepts.labels.label_table import labels_from_uniprot
from plmsae.concepts.latents import max_activations
from plmsae.proteins.uniprot import read_table
from plmsae.sae.config import SaeConfig
from plmsae.sae.model import Sae, build_sae, load_sae
from plmsae.scoring import encoding
from plmsae.scoring.engine import score
from plmsae.scoring.export import export
from plmsae.scoring.fill import fill
from plmsae.scoring.pyfunc import COLUMNS, _load_pyfunc
from plmsae.scoring.truth import check_against_truth

D_SAE = 48


class LetterPlm(Streaming):
    """Activations of a residue: which letters stand here and, more faintly, beside it."""

    def __init__(self, sae: Sae) -> None:
        self.sae = sae

    def encode(self, sequences: Sequence[str]) -> list[csr_array]:
        return [self.sae.encode_csr(self._activations(sequence)) for sequence in sequences]

    def _activations(self, sequence: str) -> torch.Tensor:
        x_ND = np.zeros((len(sequence), len(LETTERS)), dtype=np.float32)
        for i, letter in enumerate(sequence):
            if letter in LETTERS:
                column = LETTERS.index(letter)
                x_ND[i, column] += 1
                x_ND[max(0, i - 2) : i + 3, column] += 0.3
        return torch.from_numpy(x_ND)


@pytest.fixture(scope="module")
def yeast(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 150 proteins of the real table."""
    path = tmp_path_factory.mktemp("yeast") / "yeast.tsv"
    with gzip.open(real_data / "swissprot_yeast.tsv.gz", "rt") as handle:
        path.write_text("".join(line for line, _ in zip(handle, range(151), strict=False)))
    return path


@pytest.fixture(scope="module")
def bundle(yeast: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("model")
    torch.set_num_threads(1)
    config = SaeConfig(arch="topk", d_in=len(LETTERS), d_sae=D_SAE, k=4)
    sae = build_sae(config, seed=1)
    sae.save(folder / "sae")
    sequences = read_table(yeast)["sequence"].to_list()
    highest_F = max_activations(LetterPlm(sae).encode(sequences), D_SAE)
    empty = {"n_instances": 1, "n_residues": 1, "n_proteins": 1}
    concepts = concept_rows(
        ("Transmembrane: Helical", "span", "A", 0.8, 0.7),
        ("Transmembrane", "span", "C", 0.9, 0.8),
        ("Helix", "span", "D", 0.7, 0.6),
        ("Domain", "span", "E", None, None),
        ("Modified residue: Phosphoserine", "site", "F", 0.6, 0.5),
    ).with_columns(
        *(pl.lit(value, pl.Int64).alias(name) for name, value in empty.items()),
        *(pl.lit(0.5).alias(name) for name in ("f1_select", "precision_residue", "recall", "f1")),
        call_precision_high=pl.col("call_precision"),
        call_threshold=pl.lit(0.6),
        best_latent="call_latent",
        best_threshold=pl.lit(0.6),
    )
    nothing = ("threshold", "f1_select", "precision", "recall", "f1")
    features = pl.DataFrame({"latent": range(D_SAE), "max_activation": highest_F}).with_columns(
        *(pl.lit(None, pl.Float64).alias(name) for name in nothing),
        density=pl.lit(0.1),
        dead=pl.col("max_activation") == 0,
        concept=pl.lit(None, pl.String),
        description=pl.lit(None, pl.String),
    )
    meta = BundleMeta(
        plm="letters",
        plm_revision="1",
        plm_vocabulary="",
        layer=1,
        unit="residue",
        arch="topk",
        d_in=len(LETTERS),
        d_sae=D_SAE,
        k=4,
    )
    return write_bundle(
        folder / "bundle",
        sae_folder=folder / "sae",
        meta=meta,
        features=features,
        concepts=concepts,
    )


@pytest.fixture
def encoder(bundle: Bundle) -> LetterPlm:
    return LetterPlm(load_sae(bundle.sae_folder))


def test_real_proteins_are_scored_and_exported_back_to_the_same_labels(
    yeast: Path, bundle: Bundle, encoder: LetterPlm, tmp_path: Path
) -> None:
    manifest = score(
        yeast, bundle, tmp_path / "out", model_uri="m/1", encoder=encoder, part_residues=20_000
    )
    assert (manifest.n_read, manifest.n_rejected) == (150, 0)
    assert manifest.n_parts > 2
    annotations = table(tmp_path / "out", "annotations")
    assert annotations.height > 50
    export(tmp_path / "out", "uniprot", tmp_path / "out.tsv")
    # The export has no sequences; with them it is a table like UniProt's own.
    plain = {"separator": "\t", "quote_char": None, "infer_schema": False}
    exported = pl.read_csv(tmp_path / "out.tsv", **plain)
    sequences = read_table(yeast).select("accession", "sequence")
    exported = exported.join(sequences, left_on="Entry", right_on="accession")
    exported = exported.rename({"sequence": "Sequence"})
    exported.write_csv(tmp_path / "back.tsv", separator="\t", quote_style="never")
    labels = labels_from_uniprot(read_table(tmp_path / "back.tsv"))
    place = ["accession", "start", "end", "concept"]
    called = {*annotations.select(place).rows()}
    called |= {(*row[:3], row[3].split(": ")[0]) for row in called}  # each also of its class
    assert {*labels.select(place).rows()} == called


def test_labels_hidden_from_the_real_table_are_checked_against_it(
    yeast: Path, bundle: Bundle, encoder: LetterPlm, tmp_path: Path
) -> None:
    frame = pl.read_csv(yeast, separator="\t", infer_schema=False, quote_char=None)
    blind = frame.with_columns(pl.lit("").alias("Helix"), pl.lit("").alias("Transmembrane"))
    blind.write_csv(tmp_path / "blind.tsv", separator="\t", quote_style="never")
    result = fill(
        tmp_path / "blind.tsv", bundle, tmp_path / "out", model_uri="m/1", encoder=encoder
    )
    truth = labels_from_uniprot(read_table(yeast))
    known = labels_from_uniprot(read_table(tmp_path / "blind.tsv"))
    assert result.labels.height == known.height
    found = check_against_truth(result.proposals(), truth, known)
    helix = found.filter(concept="Helix").row(0, named=True)
    assert helix["hidden"] == truth.filter(concept="Helix").height > 0
    assert helix["proposed"] == result.proposals().filter(concept="Helix").height > 0
    assert 0 < helix["correct"] < helix["proposed"]
    hidden = {row[0] for row in found.filter(pl.col("hidden") > 0).select("concept").rows()}
    assert {"Helix", "Transmembrane"} <= hidden
    assert pl.read_parquet(result.abstained_path)["concept"].to_list() == ["Domain"]


def test_mlflow_loads_the_bundle_and_predicts_what_scoring_writes(
    yeast: Path,
    bundle: Bundle,
    encoder: LetterPlm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from plmsae.registry.mlflow_model import save_model_folder

    monkeypatch.setattr(
        encoding, "load_encoder", lambda found: LetterPlm(load_sae(found.sae_folder))
    )
    score(yeast, bundle, tmp_path / "out", model_uri="m/1", encoder=encoder)
    expected = table(tmp_path / "out", "annotations").select(COLUMNS)
    proteins = read_table(yeast).select("accession", "sequence").to_dict(as_series=False)
    frame = pd.DataFrame(proteins)
    plain = _load_pyfunc(str(bundle.path)).predict(frame)
    assert plain["latents"].tolist() == expected["latents"].to_list()

    import mlflow.pyfunc

    save_model_folder(tmp_path / "model", bundle, model_id="m-0", run_id=None)
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    found = model.predict(frame, params={"min_precision": 0.6})
    kept = expected.filter(pl.col("precision_low") >= 0.6)
    assert found[["accession", "start", "end", "concept"]].to_records(index=False).tolist() == (
        kept.select("accession", "start", "end", "concept").rows()
    )
    assert read_bundle(bundle.path).digest == bundle.digest
