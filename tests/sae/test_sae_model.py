"""What an SAE promises: raw activations in and out, sparse codes, independent rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from plmsae.core.errors import InputError
from plmsae.sae.architecture import ARCHITECTURES
from plmsae.sae.architectures.batchtopk import BatchTopK
from plmsae.sae.architectures.hierarchical import HierarchicalTopK
from plmsae.sae.architectures.jumprelu import JumpReLU
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.model import Sae, build_sae


def trained_like(arch: str, *, apply_b_dec: bool = True) -> Sae:
    config = SaeConfig(arch=arch, d_in=12, d_sae=70, k=5, apply_b_dec_to_input=apply_b_dec)
    sae = build_sae(config, seed=4)
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        sae.b_enc_F.copy_(0.2 * torch.randn(70, generator=g))
        sae.b_dec_D.copy_(torch.randn(12, generator=g))
        if isinstance(sae, BatchTopK):
            sae.threshold.fill_(0.8)
        if isinstance(sae, JumpReLU):
            sae.log_threshold_F.copy_(torch.linspace(0.1, 2, 70).log())
    return sae


def rows(n: int = 50) -> torch.Tensor:
    return torch.randn(n, 12, generator=torch.Generator().manual_seed(6)) * 2 + 1


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("apply_b_dec", [True, False])
def test_folding_the_scaling_gives_the_same_function_of_raw_activations(
    arch: str, apply_b_dec: bool
) -> None:
    sae, raw = trained_like(arch, apply_b_dec=apply_b_dec), rows()
    mean, factor = torch.linspace(-3, 3, 12), 0.25
    codes = sae.encode_csr((raw - mean) * factor).toarray()
    rebuilt = sae.reconstruct((raw - mean) * factor) / factor + mean
    sae.fold_scaling(mean, factor)
    assert np.allclose(sae.encode_csr(raw).toarray(), codes / factor, atol=1e-4)
    assert torch.allclose(sae.reconstruct(raw), rebuilt, atol=1e-4)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_folding_two_scalings_gives_a_transcoder_of_raw_activations(arch: str) -> None:
    config = SaeConfig(arch=arch, d_in=12, d_sae=70, k=5, target="layer", d_out=9)
    sae, raw = build_sae(config, seed=4), rows()
    if isinstance(sae, BatchTopK):
        sae.threshold.fill_(0.8)
    mean, mean_out = torch.linspace(-3, 3, 12), torch.linspace(1, 2, 9)
    codes = sae.encode_csr((raw - mean) * 0.25).toarray()
    rebuilt = sae.reconstruct((raw - mean) * 0.25) / 4 + mean_out
    sae.fold_scaling(mean, 0.25, mean_out, 4.0)
    assert np.allclose(sae.encode_csr(raw).toarray(), codes / 4, atol=1e-4)
    assert torch.allclose(sae.reconstruct(raw), rebuilt, atol=1e-4)
    assert torch.allclose(sae.W_dec_FD.norm(dim=1), torch.ones(70), atol=1e-5)


def test_a_hierarchical_sae_serves_smaller_k_with_the_same_weights() -> None:
    sae, x = trained_like("hierarchical"), rows()
    assert isinstance(sae, HierarchicalTopK)
    small = sae.at(2)
    values = np.sort(sae.encode_csr(x).toarray(), axis=1)
    assert np.allclose(np.sort(small.encode_csr(x).toarray(), axis=1)[:, -2:], values[:, -2:])
    assert (small.encode_csr(x).toarray() > 0).sum(axis=1).max() == 2
    assert small.W_enc_FD is sae.W_enc_FD
    assert sae.config.k == 5
    assert small.config.arch == "topk"
    with pytest.raises(InputError, match="between 1 and 5"):
        sae.at(6)


@pytest.mark.parametrize(
    ("arch", "expected"),
    [("hierarchical", (1, 2, 5)), ("matryoshka", (4, 8, 17, 35, 70)), ("topk", ())],
)
def test_levels_are_halved_from_the_whole(arch: str, expected: tuple[int, ...]) -> None:
    assert SaeConfig(arch=arch, d_in=12, d_sae=70, k=5).levels == expected


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_code_never_depends_on_the_other_rows(arch: str) -> None:
    sae, x = trained_like(arch), rows()
    together = sae.encode_csr(x).toarray()
    alone = np.concatenate([sae.encode_csr(row[None]).toarray() for row in x])
    assert np.allclose(together, alone, atol=1e-5)
    assert ((together > 0) == (alone > 0)).all()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_encode_csr_in_chunks_is_sorted_sparse_float32(
    arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sae, x = trained_like(arch), rows()
    whole = sae.encode_csr(x)
    monkeypatch.setattr("plmsae.sae.base._ROWS_AT_ONCE", 7)
    chunked = sae.encode_csr(x)
    assert whole.shape == chunked.shape == (50, 70)
    assert np.allclose(whole.toarray(), chunked.toarray(), atol=1e-5)
    for csr in (whole, chunked):
        assert csr.dtype == np.float32
        assert csr.has_sorted_indices
        assert (csr.data > 0).all()


def test_no_rows_give_an_empty_code_and_reconstruction() -> None:
    sae = trained_like("topk")
    assert sae.encode_csr(torch.empty(0, 12)).shape == (0, 70)
    assert sae.reconstruct(torch.empty(0, 12)).shape == (0, 12)


def test_half_precision_activations_are_taken() -> None:
    sae = trained_like("topk")
    assert sae.reconstruct(rows().bfloat16()).dtype == torch.float32


def test_activations_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(n, 12\)"):
        trained_like("topk").encode(torch.zeros(3, 11))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    config = SaeConfig(d_in=4, d_sae=8, k=2)
    assert torch.equal(build_sae(config, seed=1).W_enc_FD, build_sae(config, seed=1).W_enc_FD)
    assert not torch.equal(build_sae(config, seed=1).W_enc_FD, build_sae(config, seed=2).W_enc_FD)


def test_a_new_sae_is_tied_and_has_a_unit_norm_decoder() -> None:
    sae = build_sae(SaeConfig(d_in=4, d_sae=8, k=2))
    assert torch.equal(sae.W_enc_FD, sae.W_dec_FD)
    assert torch.allclose(sae.W_dec_FD.norm(dim=1), torch.ones(8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 9}, r"k \(9\) must not exceed d_sae \(8\)"),
        ({"k": None}, "needs k"),
        ({"d_in": 0}, "d_in must be a positive whole number"),
        ({"arch": "gated"}, "unknown SAE architecture"),
        ({"arch": "matryoshka", "k": None}, "needs k"),
        ({"levels": (1, 2)}, "has no levels"),
        ({"arch": "hierarchical", "levels": (2, 1)}, "levels must ascend and end with 2"),
        ({"arch": "matryoshka", "levels": (2, 4)}, "levels must ascend and end with 8"),
        ({"target": "past"}, "unknown target"),
        ({"d_out": 5}, r"d_out \(5\) must equal d_in \(4\) where target is input"),
        ({"d_out": 5, "target": "change"}, "must equal d_in"),
        ({"target": "layer", "apply_b_dec_to_input": True}, "transcoder cannot"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SaeConfig(**({"d_in": 4, "d_sae": 8, "k": 2} | changes))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "exactly one of steps and n_vectors"),
        ({"steps": 1, "n_vectors": 1}, "exactly one of steps and n_vectors"),
        ({"n_vectors": 100}, "less than one batch"),
        ({"steps": 5, "lr": "fast"}, "lr must be"),
        ({"steps": 5, "warmup_share": 0.9}, "add up"),
        ({"steps": 5, "per_row_share": 1.0}, "less than 1"),
        ({"steps": 5, "batch_size": 0}, "batch_size must be a positive"),
    ],
)
def test_a_wrong_training_configuration_says_what_is_wrong(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**settings)


def test_the_learning_rate_rises_stays_and_falls_over_the_last_fifth() -> None:
    config = TrainConfig(steps=1000, lr=0.01, warmup_share=0.05)
    rates = [config.lr_at(step, 512) for step in range(1000)]
    assert rates[0] < 0.0003
    assert rates[51:800] == [0.01] * 749
    assert rates[800:] == sorted(rates[800:], reverse=True)
    assert 0 < rates[-1] < 0.0001


def test_the_automatic_learning_rate_falls_with_the_root_of_the_width() -> None:
    config = TrainConfig(steps=1)
    assert config.peak_lr(16384) == pytest.approx(2 * config.peak_lr(65536))


def test_the_automatic_learning_rate_is_lower_for_small_batches_over_all_processes() -> None:
    whole = TrainConfig(steps=1, batch_size=2048).peak_lr(16384)
    assert TrainConfig(steps=1, batch_size=512).peak_lr(16384) == pytest.approx(whole / 2)
    assert TrainConfig(steps=1, batch_size=8192).peak_lr(16384) == whole
    assert TrainConfig(steps=1, batch_size=512).peak_lr(16384, n_processes=4) == whole
    assert TrainConfig(steps=1, batch_size=512, lr=1e-3).peak_lr(16384) == 1e-3
