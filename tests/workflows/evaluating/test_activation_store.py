"""One pass over the proteins, in parts that are kept."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tiny import save_tiny

from plmsae.core.errors import InputError
from plmsae.core.stopping import Terminated
from plmsae.encode import Encoder
from plmsae.plm.model import load_plm
from plmsae.sae.config import SaeConfig
from plmsae.sae.model import build_sae
from plmsae.workflows.evaluating import activation_store
from plmsae.workflows.evaluating.activation_store import (
    encode_means,
    encode_with_states,
    encoded_parts,
)
from plmsae.workflows.shared.progress import Silent

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "ACD", "ACDEFGHIKLMNPQRSTVWY" * 8, "MKK"]


@pytest.fixture(scope="module")
def plm(tmp_path_factory):
    folder = save_tiny(tmp_path_factory.mktemp("states") / "tiny")
    return load_plm(str(folder), device="cpu")


@pytest.fixture
def encoder(plm):
    return Encoder(plm, 2, build_sae(SaeConfig(d_in=16, d_sae=32, k=4)))


@pytest.fixture
def ran(monkeypatch):
    """The sequences that the PLM was run on."""
    found = []
    original = Encoder.stream_with_states

    def stream(self, sequences):
        found.extend(sequences)
        return original(self, sequences)

    monkeypatch.setattr(Encoder, "stream_with_states", stream)
    monkeypatch.setattr(activation_store, "PART_RESIDUES", 20)
    return found


def encode(encoder, parts, sequences=SEQUENCES, keep=True):
    return encode_with_states(encoder, sequences, Silent(), keep=keep, parts=parts)


@pytest.mark.parametrize("part_residues", [1, 30, 10**6])
def test_the_arrays_are_those_that_scoring_and_the_plm_make(
    part_residues, encoder, plm, tmp_path, monkeypatch
):
    monkeypatch.setattr(activation_store, "PART_RESIDUES", part_residues)
    whole = dict(plm.activations(SEQUENCES, [2]))
    with encoded_parts(tmp_path / "encoded", keep=False) as parts:
        latents, states = encode(encoder, parts)
        for ours, theirs in zip(latents, encoder.encode(SEQUENCES), strict=True):
            assert ours.dtype == np.float32
            assert ours.shape == theirs.shape
            assert np.allclose(ours.toarray(), theirs.toarray(), atol=1e-5)
        for index, x_ND in enumerate(states):
            assert x_ND.dtype == np.float16
            assert np.allclose(x_ND, whole[index][2].numpy(), atol=2e-3)
        assert encode(encoder, parts, keep=False)[1] == []
    assert not (tmp_path / "encoded").exists()


def test_what_is_stored_is_not_encoded_again_unless_it_is_of_something_else(
    encoder, plm, tmp_path, ran
):
    root = tmp_path / "encoded"

    def again(encoder=encoder, **given):
        ran.clear()
        with encoded_parts(root, keep=True) as parts:
            return encode(encoder, parts, **given)

    first = again()
    assert ran == SEQUENCES
    second = again()
    assert ran == []
    for one, other in zip(first[0], second[0], strict=True):
        assert (one != other).nnz == 0
    assert all(map(np.array_equal, first[1], second[1]))
    again(dataclasses.replace(encoder, layer=1))
    assert ran == SEQUENCES
    sae = build_sae(SaeConfig(d_in=16, d_sae=32, k=4), seed=1)
    again(dataclasses.replace(encoder, sae=sae))
    assert ran == SEQUENCES
    again(sequences=SEQUENCES[::-1])
    assert ran == SEQUENCES[::-1]
    assert len(list(root.iterdir())) == 1  # of the others nothing is left


def test_a_damaged_part_is_encoded_again(encoder, tmp_path, ran, caplog):
    with encoded_parts(tmp_path, keep=True) as parts:
        # They are mapped from the files that will be overwritten.
        latents = [rows.copy() for rows in encode(encoder, parts)[0]]
    for name, content in (("data.npy", b"PK"), ("states.npy", b"")):
        ran.clear()
        (damaged,) = tmp_path.glob(f"*/part-00001/{name}")
        damaged.write_bytes(content)
        with encoded_parts(tmp_path, keep=True) as parts:
            again, _ = encode(encoder, parts)
        assert ran == SEQUENCES[1:3]
        assert "is encoded again" in caplog.text
        for one, other in zip(latents, again, strict=True):
            assert (one != other).nnz == 0


def test_what_a_stop_keeps_is_said(encoder, tmp_path, ran):
    def stopped():
        with encoded_parts(tmp_path, keep=False) as parts:
            encode(encoder, parts)
            raise Terminated

    with pytest.raises(
        Terminated, match=r"^3 of 3 parts .* kept in .*; the same command continues"
    ):
        stopped()
    assert len(list(tmp_path.glob("*/part-*"))) == 3
    with pytest.raises(KeyboardInterrupt, match=r"^$"), encoded_parts(tmp_path, keep=False):
        raise KeyboardInterrupt


def test_an_activation_beyond_float16_stays_finite(encoder, tmp_path, monkeypatch):
    original = Encoder.stream_with_states

    def huge(self, sequences):
        for index, rows, x_ND in original(self, sequences):
            yield index, rows, x_ND.sign() * 1e6

    monkeypatch.setattr(Encoder, "stream_with_states", huge)
    with encoded_parts(tmp_path / "encoded", keep=False) as parts:
        _, states = encode(encoder, parts)
    assert {*np.unique(np.abs(states[0]))} == {65504}


def test_a_disk_without_room_is_said_before_the_plm_runs(encoder, tmp_path, ran, monkeypatch):
    monkeypatch.setattr("plmsae.sae.cache.shutil.disk_usage", lambda _: type("U", (), {"free": 9}))
    with (
        pytest.raises(InputError, match="disk has"),
        encoded_parts(tmp_path, keep=False) as parts,
    ):
        encode(encoder, parts)
    assert ran == []


def test_a_protein_level_stream_hands_out_the_mean(plm, tmp_path, monkeypatch):
    encoder = Encoder(plm, 2, build_sae(SaeConfig(d_in=16, d_sae=32, k=4)), unit="protein")
    seen = {index: x for index, _, x in encoder.stream_with_states(SEQUENCES)}
    whole = {index: x[2] for index, x in plm.activations(SEQUENCES, [2])}
    for index, x in seen.items():
        assert np.allclose(x, whole[index].mean(0, keepdim=True), atol=1e-6)
    monkeypatch.setattr(activation_store, "PART_RESIDUES", 20)
    with encoded_parts(tmp_path, keep=True) as parts:
        latents, means = encode_means(encoder, SEQUENCES, Silent(), parts=parts)
    assert len(list(tmp_path.glob("*/part-*"))) == 3
    assert latents.shape == (4, 32)
    for index, x in seen.items():
        assert np.allclose(means[index], x, atol=1e-6)
