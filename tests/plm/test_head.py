"""Fitting a language-modelling head; on a tiny PLM, whose states know little beyond letters."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import save_tiny, tiny_masked_lm

from plmsae.core.errors import InputError
from plmsae.plm.head import fit_head
from plmsae.plm.model import Plm, load_plm
from plmsae.plm.perplexity import masked_perplexity
from plmsae.plm.revision import body_revision
from plmsae.plm.stored_head import save_head


def proteins(count: int = 120) -> list[str]:
    """Return proteins of 60 residues in which few letters are common."""
    rng = np.random.default_rng(1)
    letters = np.array(list("LAGSEVKDTIRPNQFYMHCW"))
    share = 0.7 ** np.arange(20)
    return ["".join(row) for row in rng.choice(letters, (count, 60), p=share / share.sum())]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "plm"
    tiny_masked_lm(max_position_embeddings=258).esm.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def plm(folder: Path) -> Plm:
    return load_plm(str(folder), device="cpu")


def digest(plm: Plm) -> str:
    tensors = sorted(plm.model.state_dict().items())
    return hashlib.sha256(b"".join(t.numpy().tobytes() for _, t in tensors)).hexdigest()


def test_the_loss_falls_and_the_body_stays_as_it_was(plm: Plm) -> None:
    before = digest(plm)
    seen: list[tuple[int, int]] = []
    head = fit_head(plm, proteins(), on_progress=lambda done, total, _: seen.append((done, total)))
    assert digest(plm) == before
    assert not any(parameter.requires_grad for parameter in plm.model.parameters())
    assert head.losses[-1] < head.losses[0] - 0.2
    assert seen[-1][0] == seen[-1][1]
    # To an untrained head 33 tokens are equally likely; the composition alone gives 7.8.
    assert head.unigram < head.perplexity < 20
    assert (head.n_proteins, head.n_fitted) == (108, 108 * 9)
    assert (head.n_held_out_proteins, head.n_held_out) == (12, 12 * 9)
    assert set(head.state) == {
        *("lm_head.bias", "lm_head.dense.weight", "lm_head.dense.bias"),
        *("lm_head.layer_norm.weight", "lm_head.layer_norm.bias"),
    }


def test_the_same_proteins_and_seed_give_the_same_head_and_another_seed_another(plm: Plm) -> None:
    torch.manual_seed(5)
    one = fit_head(plm, proteins(), seed=3)
    state = torch.get_rng_state()
    torch.manual_seed(6)
    two = fit_head(plm, proteins(), seed=3)
    assert one.losses == two.losses
    assert all(torch.equal(one.state[name], two.state[name]) for name in one.state)
    assert fit_head(plm, proteins(), seed=4).losses != one.losses
    # The global generator is nobody's business but the caller's.
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_fitted_head_is_found_beside_the_weights_and_shows_in_the_revision(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "plm"
    tiny_masked_lm(max_position_embeddings=258).esm.save_pretrained(folder)
    bare = load_plm(str(folder), device="cpu", head=True)
    assert bare.masked_lm is None
    head = fit_head(bare, proteins())
    digest = save_head(folder, head.state)
    with_head = load_plm(str(folder), device="cpu", head=True)
    assert with_head.revision == f"{bare.revision}+head:{digest[:16]}"
    assert body_revision(with_head.revision) == bare.revision
    assert load_plm(str(folder), device="cpu").revision == bare.revision
    stored = with_head.masked_lm.lm_head.state_dict()
    for name, tensor in head.state.items():
        assert torch.equal(stored[name.removeprefix("lm_head.")], tensor)
    held_out = proteins(140)[120:]
    assert masked_perplexity(with_head, held_out).perplexity < 20
    # The library's own forward gives the same.
    ids = torch.from_numpy(with_head.vocabulary.encode(held_out[0]))[None]
    with torch.inference_mode():
        expected = with_head.masked_lm(ids).logits[0]
        states = with_head.model(ids).last_hidden_state[0]
        torch.testing.assert_close(with_head.logits(states), expected)


def test_a_file_that_is_no_such_head_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "plm"
    tiny_masked_lm(max_position_embeddings=258).esm.save_pretrained(folder)
    save_head(folder, {"lm_head.bias": torch.zeros(33)})
    with pytest.raises(InputError, match=r"head.safetensors: not a language-modelling head"):
        load_plm(str(folder), device="cpu", head=True)


def test_a_head_of_the_checkpoint_s_own_comes_first(tmp_path: Path, plm: Plm) -> None:
    folder = save_tiny(tmp_path / "plm", max_position_embeddings=258)
    save_head(folder, fit_head(plm, proteins(20)).state)
    opened = load_plm(str(folder), device="cpu", head=True)
    own = tiny_masked_lm(max_position_embeddings=258).lm_head.bias
    assert torch.equal(opened.masked_lm.lm_head.bias, own)
    assert "+head" not in opened.revision


def test_too_few_proteins_are_told(plm: Plm) -> None:
    with pytest.raises(InputError, match=r"--fit-head: .*20 proteins or more of 50 to 254"):
        fit_head(plm, ["ACDEFGHIKL"] * 500)
