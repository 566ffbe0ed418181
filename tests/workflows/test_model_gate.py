"""What the gate on trained SAEs is told of an SAE: real weights, damaged and not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from plmsae.core.errors import QualityError
from plmsae.sae.config import SaeConfig
from plmsae.sae.evaluate import evaluate_sae
from plmsae.sae.model import build_sae
from plmsae.workflows.shared.model_gate import check_models, model_row


class Unlogged:
    """No MLflow run: nothing is logged."""


def small() -> torch.nn.Module:
    return build_sae(SaeConfig(arch="topk", d_in=8, d_sae=16, k=4), seed=0)


def rows(n: int = 64) -> torch.Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(0))


def test_a_row_says_what_the_weights_and_the_activations_are() -> None:
    sae = small()
    metrics = evaluate_sae(sae, [rows()])
    x = rows().double()
    scale = float((x - x.mean(0)).square().sum(1).mean().sqrt())
    assert metrics["activation_scale"] == pytest.approx(scale)
    row = model_row("L4", sae, metrics, stored_scale=2 * scale)
    assert (row["model"], row["k"], row["n_bad_weights"]) == ("L4", 4, 0)
    assert row["decoder_norm_error"] < 1e-5
    assert row["activation_scale_ratio"] == pytest.approx(0.5)
    assert row["bad_activation_share"] == 0
    assert "loss_recovered" not in row


def test_broken_weights_and_activations_are_counted() -> None:
    sae = small()
    with torch.no_grad():
        sae.W_enc_FD[0, :2] = torch.tensor([float("nan"), float("inf")])
        sae.W_dec_FD[1] *= 3
        sae.W_dec_FD[2] = 0  # a dead latent of a foreign SAE
    x = rows()
    x[3, 0] = float("nan")
    row = model_row("L4", sae, evaluate_sae(sae, [x]))
    assert row["n_bad_weights"] == 2
    assert row["decoder_norm_error"] == pytest.approx(2)
    assert row["bad_activation_share"] == 1 / 64
    assert row["explained_variance"] is None


def test_the_model_that_cannot_be_used_is_named_and_the_page_says_why(tmp_path: Path) -> None:
    good = model_row("L3", small(), {"explained_variance": 0.5, "l0": 4.0})
    report = check_models([good], tmp_path / "good", Unlogged())
    assert report.success
    bad = good | {"model": "L4", "explained_variance": None}
    with pytest.raises(QualityError, match=r"explained_variance present.*model L4"):
        check_models([good, bad], tmp_path / "bad", Unlogged())
