"""Scoring through a real, tiny PLM: loaded by the bundle's id and revision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
import torch
from scoring_fakes import FakeBundle, FakeMeta, contents, proteome, table, write_fasta
from transformers import EsmConfig, EsmForMaskedLM

from plmsae.core.errors import InputError
from plmsae.plm.revision import folder_revision
from plmsae.sae.config import SaeConfig
from plmsae.sae.model import build_sae
from plmsae.scoring.encoding import load_encoder
from plmsae.scoring.engine import score
from plmsae.scoring.feature_files import file_name
from plmsae.scoring.pyfunc import PyfuncModel

D_IN, D_SAE = 32, 20


@dataclass(frozen=True, kw_only=True)
class TinyBundle(FakeBundle):
    @property
    def features(self) -> pl.DataFrame:
        return pl.DataFrame({"latent": range(D_SAE), "max_activation": [1e-3] * D_SAE})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = EsmConfig(
        vocab_size=33,
        mask_token_id=32,
        pad_token_id=1,
        hidden_size=D_IN,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=104,
        position_embedding_type="rotary",
        token_dropout=True,
    )
    EsmForMaskedLM(config).save_pretrained(folder / "plm")
    sae = build_sae(SaeConfig(arch="topk", d_in=D_IN, d_sae=D_SAE, k=4))
    sae.save(folder / "sae")
    revision = folder_revision(folder / "plm")
    meta = FakeMeta(plm=str(folder / "plm"), plm_revision=revision, layer=2, d_sae=D_SAE)
    return TinyBundle(path=folder, meta=meta)


def test_a_bundle_s_own_plm_and_sae_score_and_resume(bundle: TinyBundle, tmp_path: Path) -> None:
    long = ("LONG", "ACDEFGHIKLMNPQRSTVWY" * 8)  # more than the window of 100 residues
    fasta = write_fasta(tmp_path / "x.fasta", [*proteome(12, bad=False), long])
    options = {"model_uri": "tiny/1", "part_residues": 300, "write_features": True}
    manifest = score(fasta, bundle, tmp_path / "out", **options)
    assert (manifest.n_scored, manifest.n_rejected) == (13, 0)
    features = table(tmp_path / "out", "features")
    assert features.group_by("accession", "position").len()["len"].max() <= 4
    proteins = table(tmp_path / "out", "proteins")
    assert dict(proteins.select("accession", "status").iter_rows())["LONG"] == "windowed"
    longest = features.filter(accession="LONG")["position"]
    assert (longest.min(), longest.max()) == (1, 160)
    whole = contents(tmp_path / "out")
    (tmp_path / "out" / "features" / file_name(1, 0, bundle.meta.d_sae - 1)).unlink()
    score(fasta, bundle, tmp_path / "out", **options)
    assert contents(tmp_path / "out") == whole


def test_twins_do_not_change_the_batches_of_the_others(bundle: TinyBundle, tmp_path: Path) -> None:
    proteins = proteome(12, bad=False)
    twins = [(f"TWIN{i}", sequence) for i, (_, sequence) in enumerate(proteins[:6])]
    found = {}
    for name, given in (("alone", proteins), ("twins", [*twins[:3], *proteins, *twins[3:]])):
        fasta = write_fasta(tmp_path / f"{name}.fasta", given)
        score(
            *(fasta, bundle, tmp_path / name),
            model_uri="tiny/1",
            part_residues=2000,
            write_features=True,
        )
        found[name] = table(tmp_path / name, "features").sort("accession", "position", "latent")
    others = found["twins"].filter(~pl.col("accession").str.starts_with("TWIN"))
    assert others.equals(found["alone"])  # to the last bit
    for i in range(6):
        first, twin = (
            found["twins"].filter(accession=a).drop("accession") for a in (f"P{i:05d}", f"TWIN{i}")
        )
        assert twin.equals(first)


def test_a_prediction_loads_the_model_once(
    bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = PyfuncModel(bundle)
    frame = pd.DataFrame({"sequence": ["ACDEFGHIKLMNPQRSTVWY" * 3]})
    first = model.predict(frame)
    assert len(first) > 0
    monkeypatch.setattr("plmsae.scoring.encoding.load_encoder", None)
    assert model.predict(frame).equals(first)


def test_a_plm_that_is_not_the_one_the_sae_was_trained_on_is_refused(bundle: TinyBundle) -> None:
    other = replace(bundle, meta=replace(bundle.meta, plm_revision="sha256:0"))
    with pytest.raises(InputError, match=r"is here at revision sha256:.*trained on sha256:0"):
        load_encoder(other)
    other = replace(bundle, meta=replace(bundle.meta, plm_vocabulary="0" * 64))
    with pytest.raises(InputError, match="another vocabulary here than the one"):
        load_encoder(other)
    with pytest.raises(InputError, match="has layers 0 to 3"):
        load_encoder(replace(bundle, meta=replace(bundle.meta, layer=9)))


def test_a_head_fitted_after_the_training_changes_nothing_for_an_sae(bundle: TinyBundle) -> None:
    before = replace(bundle.meta, plm_revision=f"{bundle.meta.plm_revision}+head:0123456789abcdef")
    assert load_encoder(replace(bundle, meta=before)).layer == 2
    plm = load_encoder(bundle, head=True).plm
    assert plm.revision == bundle.meta.plm_revision
