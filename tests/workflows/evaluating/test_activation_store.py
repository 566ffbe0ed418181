"""One pass over the proteins, with what is kept of it."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import save_tiny

from plmsae.core.errors import InputError
from plmsae.encode import Encoder
from plmsae.plm.model import load_plm
from plmsae.sae.config import SaeConfig
from plmsae.sae.model import build_sae
from plmsae.workflows.evaluating.activation_store import States, encode_with_states
from plmsae.workflows.shared.progress import Silent

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "ACD", "ACDEFGHIKLMNPQRSTVWY" * 8, "MKK"]


@pytest.fixture(scope="module")
def plm(tmp_path_factory):
    folder = save_tiny(tmp_path_factory.mktemp("states") / "tiny")
    return load_plm(str(folder), device="cpu")


def test_states_in_a_file_are_those_in_memory_and_leave_no_file(tmp_path):
    rng = np.random.default_rng(0)
    pieces = [rng.normal(size=(n, 5)).astype(np.float32) for n in (3, 1, 7)]
    kept = [States([3, 1, 7], 5, folder=tmp_path, budget=budget) for budget in (10**6, 20)]
    assert [states.on_disk for states in kept] == [False, True]
    for states in kept:
        for index in (2, 0, 1):  # as they are done, not in order
            states.put(index, pieces[index])
        assert len(states) == 3
        for got, expected in zip(states, pieces, strict=True):
            assert np.array_equal(got, expected.astype(np.float16))
        assert np.array_equal(states[-1], states[2])
        assert len(states[1:]) == 2
    with pytest.raises(IndexError):
        kept[0][3]
    assert not list(tmp_path.iterdir())


def test_an_activation_beyond_float16_stays_finite(tmp_path):
    states = States([1], 2, folder=tmp_path)
    states.put(0, np.array([[1e6, -1e6]], dtype=np.float32))
    assert states[0].tolist() == [[65504, -65504]]


def test_a_disk_without_room_is_said_before_the_plm_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("plmsae.sae.cache.shutil.disk_usage", lambda _: type("U", (), {"free": 9}))
    with pytest.raises(InputError, match="disk has"):
        States([1000], 100, folder=tmp_path, budget=10)


def test_latents_come_from_the_one_path_that_scoring_uses(plm, tmp_path):
    encoder = Encoder(plm, 2, build_sae(SaeConfig(d_in=16, d_sae=32, k=4)))
    latents, states = encode_with_states(encoder, SEQUENCES, Silent(), keep=True, folder=tmp_path)
    for ours, theirs in zip(latents, encoder.encode(SEQUENCES), strict=True):
        assert (ours != theirs).nnz == 0
    for index, x in plm.activations(SEQUENCES, [2]):
        assert np.array_equal(states[index], x[2].numpy().astype(np.float16))
    nothing = encode_with_states(encoder, SEQUENCES, Silent(), keep=False, folder=tmp_path)[1]
    assert len(nothing) == 0


def test_a_protein_level_stream_hands_out_the_mean(plm):
    encoder = Encoder(plm, 2, build_sae(SaeConfig(d_in=16, d_sae=32, k=4)), unit="protein")
    seen = {index: x for index, _, x in encoder.stream_with_states(SEQUENCES)}
    whole = {index: x[2] for index, x in plm.activations(SEQUENCES, [2])}
    for index, x in seen.items():
        assert np.allclose(x, whole[index].mean(0, keepdim=True), atol=1e-6)
