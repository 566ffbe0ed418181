"""The sparse step against dense autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from plmsae.sae.base import Sae
from plmsae.sae.config import SaeConfig
from plmsae.sae.model import build_sae
from plmsae.sae.step import Revival, set_gradients

D, F, K, B = 8, 60, 4, 32


def sae_with_random_biases(arch: str, *, apply_b_dec: bool = True) -> Sae:
    sae = build_sae(
        SaeConfig(arch=arch, d_in=D, d_sae=F, k=K, apply_b_dec_to_input=apply_b_dec), seed=1
    )
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        sae.W_enc_FD.add_(0.1 * torch.randn(F, D, generator=g))
        sae.b_enc_F.copy_(0.1 * torch.randn(F, generator=g))
        sae.b_dec_D.copy_(0.1 * torch.randn(D, generator=g))
    return sae


def dense_gradients(
    sae: Sae, x: Tensor, revival: Revival | None
) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of the same SAE written densely, by autograd."""
    p = {name: t.detach().clone().requires_grad_() for name, t in sae.named_parameters()}
    seen = x - p["b_dec_D"] if sae.config.apply_b_dec_to_input else x
    pre = torch.relu(seen @ p["W_enc_FD"].t() + p["b_enc_F"])
    if sae.config.arch == "topk":
        kept = pre >= pre.topk(K, dim=1).values[:, -1:]
    else:
        kept = pre >= pre.flatten().topk(B * K).values[-1]
    z = pre * kept
    residual = x - z @ p["W_dec_FD"] - p["b_dec_D"]
    loss = residual.square().mean()
    if revival is not None:
        # The residual and the rows the encoder sees are constants for the revival loss.
        dead = revival.dead
        pre_dead = torch.relu(seen.detach() @ p["W_enc_FD"][dead].t() + p["b_enc_F"][dead])
        best = pre_dead.topk(min(revival.k, len(dead)), dim=1)
        z_dead = torch.zeros_like(pre_dead).scatter(1, best.indices, best.values)
        left = residual.detach() - z_dead @ p["W_dec_FD"][dead]
        loss = loss + revival.coefficient * left.square().mean()
    loss.backward()
    gradients = {name: t.grad for name, t in p.items()}
    decoder = p["W_dec_FD"].detach()
    along = (gradients["W_dec_FD"] * decoder).sum(dim=1, keepdim=True)
    gradients["W_dec_FD"] = gradients["W_dec_FD"] - along * decoder
    return loss.item(), gradients


@pytest.mark.parametrize("arch", ["topk", "batchtopk"])
@pytest.mark.parametrize("apply_b_dec", [True, False])
@pytest.mark.parametrize("revive", [None, 30, 3])
def test_gradients_equal_dense_autograd(arch: str, apply_b_dec: bool, revive: int | None) -> None:
    sae = sae_with_random_biases(arch, apply_b_dec=apply_b_dec)
    x = torch.randn(B, D, generator=torch.Generator().manual_seed(3)) + 0.5
    revival = revive and Revival(torch.arange(5, 25), 0.7, revive)
    loss, expected = dense_gradients(sae, x, revival)
    result = set_gradients(sae, x, revival)
    assert float(result.loss) == pytest.approx(loss, rel=1e-5)
    for name, parameter in sae.named_parameters():
        scale = expected[name].abs().max()
        assert torch.allclose(parameter.grad, expected[name], atol=1e-5 * float(scale)), name


def test_fired_latents_are_those_with_a_positive_value() -> None:
    sae = sae_with_random_biases("topk")
    with torch.no_grad():
        sae.b_enc_F.fill_(-100.0)
        sae.b_enc_F[7] = 100.0
    result = set_gradients(sae, torch.randn(B, D, generator=torch.Generator().manual_seed(0)))
    assert result.fired.nonzero().flatten().tolist() == [7]
