"""Proteins that one command has encoded are not encoded by the next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import save_tiny

from plmsae.encode import Encoder
from plmsae.plm.model import Plm, load_plm
from plmsae.sae.config import SaeConfig
from plmsae.sae.model import build_sae
from plmsae.workflows import fill, score
from plmsae.workflows.evaluating.activation_store import encode_with_states, encoded_parts
from plmsae.workflows.shared.encoded_store import StoredEncoder
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import FillRequest, ScoreRequest
from plmsae.workflows.shared.swissprot_sample import write_sample_tables

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "ACD", "ACDEFGHIKLMNPQRSTVWY" * 3, "MKK"]


@pytest.fixture
def residues(monkeypatch):
    """The lengths of what the PLM was run on."""
    found, original = [], Plm._states

    def states(self, pieces, layers):
        found.extend(map(len, pieces))
        return original(self, pieces, layers)

    monkeypatch.setattr(Plm, "_states", states)
    return found


@pytest.fixture
def encoder(tmp_path):
    plm = load_plm(str(save_tiny(tmp_path / "tiny")), device="cpu")
    return Encoder(plm, 2, build_sae(SaeConfig(d_in=16, d_sae=32, k=4)))


def same(one, other):
    return all((a != b).nnz == 0 for a, b in zip(one, other, strict=True))


def test_a_store_gives_any_of_its_proteins_in_any_order_and_takes_others_in(
    encoder, tmp_path, residues
):
    root = tmp_path / "store"
    first = StoredEncoder(encoder, root).encode(SEQUENCES[:3])
    residues.clear()
    again = StoredEncoder(encoder, root)
    asked = [SEQUENCES[2], "MKKK", SEQUENCES[0], "MKKK"]
    found = again.encode(asked)
    assert residues == [4]
    assert same([found[0], found[2]], [first[2], first[0]])
    assert same([found[1]], [found[3]])
    assert found[1].dtype == np.float32
    residues.clear()
    assert same(StoredEncoder(encoder, root).encode(asked), found)
    assert residues == []


def test_what_is_of_another_sae_or_damaged_is_not_used(encoder, tmp_path, residues, caplog):
    root = tmp_path / "store"
    expected = StoredEncoder(encoder, root).encode(SEQUENCES)  # not mapped: just made
    other = Encoder(encoder.plm, 2, build_sae(SaeConfig(d_in=16, d_sae=32, k=4), seed=1))
    assert SEQUENCES[0] in StoredEncoder(encoder, root)
    assert SEQUENCES[0] not in StoredEncoder(other, root)
    for name, said in (("indices.npy", "encoded again"), ("index.json", "is not used")):
        (damaged,) = root.glob(f"*/part-*/{name}")
        damaged.write_bytes(b"PK")
        residues.clear()
        assert same(StoredEncoder(encoder, root).encode(SEQUENCES), expected)
        assert sorted(residues) == sorted(map(len, SEQUENCES))
        assert said in caplog.text


def test_what_an_evaluation_kept_is_found(encoder, tmp_path, residues):
    root = tmp_path / "encoded"
    with encoded_parts(root, keep=True) as parts:
        latents, _ = encode_with_states(encoder, SEQUENCES, Silent(), keep=True, parts=parts)
    residues.clear()
    assert same(StoredEncoder(encoder, root).encode(SEQUENCES[::-1]), latents[::-1])
    assert residues == []


def test_fill_after_score_runs_the_plm_over_no_protein_again(tmp_path, residues, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    tables = write_sample_tables(tmp_path / "proteins", max_proteins=60, seed=0)
    table, store = str(tables.held_back), tmp_path / "store"
    scored = score.run(
        ScoreRequest(proteins=table, out=Path("scores"), encoded=store, device="cpu"), Silent()
    )
    assert sum(residues) == scored.n_residues
    residues.clear()
    filled = fill.run(
        FillRequest(table=table, out=Path("fill"), encoded=store, device="cpu"), Silent()
    )
    assert residues == []
    assert filled.n_calls >= scored.n_annotations
