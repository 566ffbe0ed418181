"""Input normalisation: each row by itself, undone on the way out, stored and trained under."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sae_planted import Planted

from plmsae.core.errors import InputError
from plmsae.sae.config import InputNorm, SaeConfig, TrainConfig
from plmsae.sae.evaluate import evaluate_sae
from plmsae.sae.model import build_sae, load_sae
from plmsae.sae.normalize import normalize
from plmsae.sae.train import train

NORMS: list[InputNorm] = ["none", "layer_norm", "constant_norm_rescale"]


def rows(n: int = 20, d: int = 8) -> torch.Tensor:
    return 3 + 5 * torch.randn(n, d, generator=torch.Generator().manual_seed(0))


def test_layer_norm_is_the_unbiased_one_with_epsilon_added_to_the_deviation() -> None:
    x = rows()
    for row, got in zip(x.tolist(), normalize(x, "layer_norm").rows.tolist(), strict=True):
        mean = sum(row) / 8
        std = (sum((v - mean) ** 2 for v in row) / 7) ** 0.5
        assert got == pytest.approx([(v - mean) / (std + 1e-5) for v in row], rel=1e-4, abs=1e-5)


def test_constant_norm_gives_every_row_the_norm_sqrt_d() -> None:
    assert torch.allclose(
        normalize(rows(), "constant_norm_rescale").rows.norm(dim=1), torch.tensor(8.0).sqrt()
    )


@pytest.mark.parametrize("how", NORMS)
def test_normalised_rows_are_restored(how: InputNorm) -> None:
    normalized = normalize(rows(), how)
    assert torch.allclose(normalized.restore(normalized.rows), rows(), atol=1e-3)


@pytest.mark.parametrize("how", NORMS)
def test_constant_and_zero_rows_stay_finite(how: InputNorm) -> None:
    x = torch.stack((torch.zeros(8), torch.full((8,), 7.0)))
    normalized = normalize(x, how)
    assert torch.isfinite(normalized.rows).all()
    assert torch.isfinite(normalized.restore(normalized.rows)).all()


@pytest.mark.parametrize("how", NORMS)
def test_a_stored_sae_keeps_its_input_normalisation(how: InputNorm, tmp_path: Path) -> None:
    sae = build_sae(SaeConfig(d_in=8, d_sae=12, k=3, input_norm=how), seed=1)
    sae.save(tmp_path)
    again = load_sae(tmp_path)
    assert again.config == sae.config
    assert torch.equal(again.reconstruct(rows()), sae.reconstruct(rows()))


def test_decoding_without_the_rows_is_refused_where_their_scale_is_needed() -> None:
    sae = build_sae(SaeConfig(d_in=8, d_sae=12, k=3, input_norm="layer_norm"))
    with pytest.raises(InputError, match="rows the code came from"):
        sae.decode(sae.encode(rows()))


def test_an_unknown_normalisation_is_refused() -> None:
    with pytest.raises(InputError, match="input normalisation"):
        SaeConfig(d_in=8, d_sae=12, input_norm="softmax")  # type: ignore[arg-type]


def test_an_sae_trained_under_layer_norm_reconstructs_raw_rows(planted: Planted) -> None:
    # Rows of very different scale: only a model that normalises each can fit them all.
    sizes = torch.logspace(-2, 2, planted.batch_size).unsqueeze(1)
    batches = [planted.batch(i) * sizes for i in range(150)]
    config = SaeConfig(d_in=16, d_sae=64, k=4, input_norm="layer_norm")
    result = train(batches, config, TrainConfig(steps=150, batch_size=256, lr=3e-3))
    held_out = planted.batch(1000) * sizes
    small = slice(0, 100)
    error = (result.sae.reconstruct(held_out)[small] - held_out[small]).square().sum()
    spread = held_out[small] - held_out[small].mean(dim=1, keepdim=True)
    assert error < 0.5 * spread.square().sum()
    assert evaluate_sae(result.sae, [held_out])["fvu"] < 0.5
