"""What training reads is made by the PLM once, and is the same as if it were made again."""

from itertools import islice
from pathlib import Path

import pytest
import torch

from plmsae.plm.model import Plm, load_plm
from plmsae.workflows.training import activations
from plmsae.workflows.training.activations import streamed

SEQUENCES = ["MKV" * n + "A" * (n % 5) for n in range(2, 14)]
N_RESIDUES = sum(map(len, SEQUENCES))


def batches(source, n):
    return torch.cat([source.pick(2)(rows) for rows in islice(source.batches.iter_from(0), n)])


def stream(plm, folder, n_rows):
    return streamed(
        plm, [1, 2], "residue", SEQUENCES, batch_size=8, seed=3, n_rows=n_rows, folder=folder
    )


def count_tokens(monkeypatch):
    tokens, states = [], Plm._states

    def count(self, pieces, layers):
        tokens.append(sum(map(len, pieces)))
        return states(self, pieces, layers)

    monkeypatch.setattr(Plm, "_states", count)
    return tokens


@pytest.fixture
def plm():
    return load_plm("plmsae-mini", device="cpu")


def test_later_epochs_and_the_sample_are_read_back_bit_for_bit(
    plm: Plm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "SAMPLED", 5)
    n_rows = 3 * N_RESIDUES
    with monkeypatch.context() as patch:
        patch.setattr(activations, "KEPT_BYTES", 0)
        run_again = stream(plm, tmp_path, n_rows)
        expected = batches(run_again, n_rows // 8 - 3)
        sampled = torch.cat([states[2] for states in run_again.sample()])
    tokens = count_tokens(monkeypatch)
    kept = stream(plm, tmp_path, n_rows)
    assert torch.equal(batches(kept, n_rows // 8 - 3), expected)
    again = torch.cat([states[2] for states in kept.sample()])
    assert sum(tokens) == N_RESIDUES
    assert torch.allclose(again.sum(0), sampled.sum(0), atol=1e-3)
    assert again.shape == sampled.shape
    assert not list(tmp_path.iterdir())


def test_of_a_part_of_an_epoch_only_what_the_sample_lacks_is_made_again(
    plm: Plm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "SAMPLED", 4)
    monkeypatch.setattr(activations, "AT_ONCE", 3)
    tokens = count_tokens(monkeypatch)
    source = stream(plm, tmp_path, 16)
    found = {len(states[1]) for states in source.sample()}
    assert found == set(map(len, SEQUENCES[:4]))
    assert sum(tokens) == sum(map(len, SEQUENCES[:4]))
    batches(source, N_RESIDUES // 8)
    before = sum(tokens)
    assert {len(states[1]) for states in source.sample()} == found
    assert sum(tokens) == before
