from __future__ import annotations

import random
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import library_states, save_tiny, save_tokenizer, tiny_masked_lm

from plmsae.core.errors import InputError
from plmsae.plm.model import Plm, load_plm
from plmsae.plm.windows import batches, cut_windows

SEQUENCES = ["MKTAYIAKQR", "ACDEFGHIKLMNPQRSTVWYXBZUO", "MA", "M" + "GASP" * 10]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"token_dropout": False},
        {"position_embedding_type": "absolute", "emb_layer_norm_before": True},
    ],
    ids=["esm2", "no token dropout", "esm1b"],
)
@pytest.mark.parametrize("together", [True, False], ids=["padded", "unpadded"])
def test_every_layer_equals_the_librarys_hidden_states(tmp_path, changes, together):
    folder = save_tiny(tmp_path / "tiny", **changes)
    plm = load_plm(str(folder), device="cpu")
    layers = list(range(plm.n_layers + 1))
    ours = dict(plm.activations(SEQUENCES, layers))
    groups = [SEQUENCES] if together else [[s] for s in SEQUENCES]
    expected = [states for group in groups for states in library_states(folder, group)]
    for index, states in enumerate(expected):
        for layer in layers:
            torch.testing.assert_close(
                ours[index][layer], states[layer], rtol=0, atol=1e-5, msg=f"layer {layer}"
            )


def test_blocks_above_the_layer_are_not_even_kept(tmp_path):
    folder = save_tiny(tmp_path / "tiny")
    full = dict(load_plm(str(folder), device="cpu").activations(SEQUENCES, [2]))
    cut = load_plm(str(folder), device="cpu", max_layer=2)
    assert len(cut.model.encoder.layer) == 2
    for index, states in cut.activations(SEQUENCES, [2]):
        torch.testing.assert_close(states[2], full[index][2])


def test_activations_do_not_depend_on_the_token_budget(tmp_path):
    plm = load_plm(str(save_tiny(tmp_path / "tiny")), device="cpu")
    large = dict(plm.activations(SEQUENCES, [3]))
    small = dict(plm.activations(SEQUENCES, [3], token_budget=1))
    assert sorted(small) == list(range(len(SEQUENCES)))
    for index in small:
        torch.testing.assert_close(small[index][3], large[index][3])


def fits_only(monkeypatch, n_residues):
    """Let a forward pass of more than `n_residues` run out of memory, as the CPU allocator says."""
    whole = Plm._states

    def states(self, pieces, layers):
        if sum(map(len, pieces)) > n_residues:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …")
        return whole(self, pieces, layers)

    monkeypatch.setattr(Plm, "_states", states)


def test_a_batch_that_does_not_fit_is_halved_until_it_does(tmp_path, monkeypatch):
    plm = load_plm(str(save_tiny(tmp_path / "tiny")), device="cpu")
    expected = dict(plm.activations(SEQUENCES, [2]))
    fits_only(monkeypatch, max(map(len, SEQUENCES)))
    found = list(plm.activations(SEQUENCES, [2]))
    assert sorted(index for index, _ in found) == list(range(len(SEQUENCES)))
    for index, states in found:
        assert torch.allclose(states[2], expected[index][2], atol=1e-5)


def test_a_protein_that_does_not_fit_alone_is_one_clear_error(tmp_path, monkeypatch):
    plm = load_plm(str(save_tiny(tmp_path / "tiny")), device="cpu")
    fits_only(monkeypatch, 20)
    with pytest.raises(InputError, match="one window of 41 residues does not fit the memory"):
        list(plm.activations(SEQUENCES, [2]))


def test_a_protein_longer_than_the_plm_gives_one_row_per_residue(tmp_path):
    plm = load_plm(str(save_tiny(tmp_path / "tiny")), device="cpu")
    assert plm.max_residues == 64
    long = ("MKTAYIAKQRQISFVKSHFSRQ" * 10)[:201]
    (index, states), *rest = plm.activations([long], [3])
    assert (index, rest) == (0, [])
    assert states[3].shape == (201, 16)


def save_local(folder, max_residues):
    """Save a tiny PLM whose attention reaches some 12 residues, by rotary positions alone.

    Queries and keys are one constant vector in the plane that turns slowest, by 0.01 a residue: the
    score of two residues is about 700 - 0.035 times the square of their distance.
    """
    model = tiny_masked_lm(max_position_embeddings=max_residues + 4)
    with torch.no_grad():
        for block in model.esm.encoder.layer:
            for linear in (block.attention.self.query, block.attention.self.key):
                linear.weight.zero_()
                linear.bias.copy_(torch.tensor([0.0, 37.0, 0.0, 0.0]).repeat(4))
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def test_windows_give_what_the_whole_protein_gives_also_at_their_seams(tmp_path):
    folder = save_local(tmp_path / "local", 256)
    plm = load_plm(str(folder), device="cpu")
    assert plm.max_residues == 256
    long = "".join(random.Random(0).choices("ACDEFGHIKLMNPQRSTVWY", k=450))
    # The library has no limit here: rotary positions go on, here to two thirds of a turn.
    ((whole),) = library_states(folder, [long])
    found = dict(plm.activations([long], [3]))[0][3]
    torch.testing.assert_close(found, whole[3], rtol=0, atol=0.01)
    # Only the half that is farther from a window's edge is right: at the edge itself, cut off from
    # what follows, the same window gives something else.
    for window in cut_windows(0, len(long), 256)[:-1]:
        alone = dict(plm.activations([long[window.start : window.end]], [3]))[0][3]
        there = whole[3][window.start : window.end]
        kept = slice(window.keep_start - window.start, window.keep_end - window.start)
        torch.testing.assert_close(alone[kept], there[kept], rtol=0, atol=0.01)
        assert (alone[-4:] - there[-4:]).abs().max() > 0.1


@given(length=st.integers(1, 5000), longest=st.integers(2, 1022))
@settings(max_examples=200, deadline=None)
def test_windows_keep_every_residue_once(length, longest):
    windows = cut_windows(0, length, longest)
    kept = [r for w in windows for r in range(w.keep_start, w.keep_end)]
    assert kept == list(range(length))
    for window in windows:
        assert window.end - window.start <= longest
        assert 0 <= window.start <= window.keep_start <= window.keep_end <= window.end <= length
    # Where two overlap, each residue is kept from the one in which it is farther from the edge.
    for left, right in pairwise(windows):
        assert all(left.end - r >= r - right.start for r in range(right.start, left.keep_end))
        assert all(r + 1 - right.start >= left.end - r for r in range(right.keep_start, left.end))


@given(
    lengths=st.lists(st.integers(1, 300), max_size=30),
    longest=st.integers(2, 128),
    budget=st.integers(1, 600),
)
@settings(max_examples=100, deadline=None)
def test_batches_hold_every_window_and_keep_the_budget(lengths, longest, budget):
    seen = []
    for batch in batches(lengths, longest, budget):
        tokens = sum(w.end - w.start + 2 for w in batch)
        assert tokens <= budget or len(batch) == 1
        seen += batch
    expected = [w for p, n in enumerate(lengths) for w in cut_windows(p, n, longest)]
    assert sorted(seen) == sorted(expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("esm2-9m", "no such PLM"),
        ("no/such/folder", "no such PLM"),
    ],
)
def test_an_unknown_plm_is_one_clear_error(name, message):
    with pytest.raises(InputError, match=message) as caught:
        load_plm(name)
    assert name in str(caught.value)


def test_a_folder_that_holds_no_model_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match="cannot be opened"):
        load_plm(str(tmp_path))


def test_pickled_weights_are_refused(tmp_path):
    model = tiny_masked_lm()
    model.config.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be opened"):
        load_plm(str(tmp_path))


def test_a_model_of_another_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mamba", "vocab_size": 33}')
    with pytest.raises(InputError, match="no PLM family here opens models of type 'mamba'"):
        load_plm(str(tmp_path))


def test_a_layer_the_plm_lacks_is_refused(tmp_path):
    plm = load_plm(str(save_tiny(tmp_path / "tiny")), device="cpu")
    with pytest.raises(InputError, match="layers 0 to 3"):
        next(plm.activations(["MA"], [4]))


def test_the_revision_changes_with_the_weights(tmp_path):
    one = load_plm(str(save_tiny(tmp_path / "one")), device="cpu").revision
    two = load_plm(str(save_tiny(tmp_path / "two", hidden_size=32)), device="cpu").revision
    assert one.startswith("sha256:")
    assert one != two


@pytest.mark.gpu
def test_bf16_on_cuda_is_close_to_fp32_on_the_cpu(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    folder = str(save_tiny(tmp_path / "tiny", initializer_range=0.02))
    gpu = dict(load_plm(folder, device="cuda").activations(SEQUENCES, [3]))
    cpu = dict(load_plm(folder, device="cpu").activations(SEQUENCES, [3]))
    for index in cpu:
        torch.testing.assert_close(gpu[index][3].cpu(), cpu[index][3], rtol=0.05, atol=0.05)
