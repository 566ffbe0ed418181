"""The sparse step against dense autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from plmsae.sae import topk_cuda
from plmsae.sae.architecture import ARCHITECTURES
from plmsae.sae.architectures.jumprelu import BANDWIDTH, JumpReLU
from plmsae.sae.base import Sae
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.model import build_sae
from plmsae.sae.penalised import Penalised
from plmsae.sae.step import Revival, set_gradients

D, F, K, B = 8, 60, 4, 32
PENALTY = 0.3


class Jump(torch.autograd.Function):
    """z · H(z - θ) or H(z - θ) with the straight-through gradients of Rajamanoharan et al. 2024."""

    @staticmethod
    def forward(ctx: object, z: Tensor, theta: Tensor, times_z: bool) -> Tensor:
        ctx.save_for_backward(z, theta)
        ctx.times_z = times_z
        return (z if times_z else 1.0) * (z > theta)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        z, theta = ctx.saved_tensors
        kernel = ((z - theta).abs() < BANDWIDTH / 2) & (z > 0)
        height = theta if ctx.times_z else torch.ones(())
        to_theta = (-height / BANDWIDTH * kernel * grad).sum(dim=0)
        return grad * (z > theta) * ctx.times_z, to_theta, None


def sae_with_random_biases(arch: str, **changes: object) -> Sae:
    config = SaeConfig(**({"arch": arch, "d_in": D, "d_sae": F, "k": K} | changes))
    sae = build_sae(config, seed=1)
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        sae.W_enc_FD.add_(0.1 * torch.randn(config.d_sae, D, generator=g))
        sae.b_enc_F.copy_(0.1 * torch.randn(config.d_sae, generator=g))
        sae.b_dec_D.copy_(0.1 * torch.randn(config.d_target, generator=g))
        if isinstance(sae, JumpReLU):
            # From within half a bandwidth of zero to far above.
            sae.log_threshold_F.copy_(torch.linspace(0.01, 1.5, F).log())
    if isinstance(sae, Penalised):
        sae.take_settings(TrainConfig(steps=1, sparsity_coefficient=PENALTY))
    return sae


def dense_code(sae: Sae, p: dict[str, Tensor], pre: Tensor) -> tuple[Tensor, Tensor | float]:
    """Return the activations and the penalty of a vector, both with gradients."""
    arch = sae.config.arch
    if arch == "relu":
        z = torch.relu(pre)
        return z, PENALTY * (z * p["W_dec_FD"].norm(dim=1)).sum() / B
    if arch == "jumprelu":
        theta = p["log_threshold_F"].exp()
        return Jump.apply(pre, theta, True), PENALTY * Jump.apply(pre, theta, False).sum() / B
    pre = torch.relu(pre)
    if arch in ("topk", "hierarchical"):
        return pre * (pre >= pre.topk(K, dim=1).values[:, -1:]), 0.0
    return pre * (pre >= pre.flatten().topk(B * K).values[-1]), 0.0


def dense_levels(sae: Sae, z: Tensor) -> list[Tensor]:
    """Return the activations that each trained reconstruction may use."""
    arch, levels = sae.config.arch, sae.config.levels
    if arch == "hierarchical":
        rank = z.argsort(dim=1, descending=True).argsort(dim=1)
        return [z * (rank < level) for level in levels]
    if arch == "matryoshka":
        return [z * (torch.arange(F) < level) for level in levels]
    return [z]


def dense_gradients(
    sae: Sae, x: Tensor, revival: Revival | None, target: Tensor | None
) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of the same SAE written densely, by autograd."""
    p = {name: t.detach().clone().requires_grad_() for name, t in sae.named_parameters()}
    y = x if target is None else target
    seen = x - p["b_dec_D"] if sae.config.apply_b_dec_to_input else x
    z, penalty = dense_code(sae, p, seen @ p["W_enc_FD"].t() + p["b_enc_F"])
    residuals = [y - part @ p["W_dec_FD"] - p["b_dec_D"] for part in dense_levels(sae, z)]
    loss = torch.stack([r.square().mean() for r in residuals]).mean() + penalty / y.shape[1]
    if revival is not None:
        # The residual and the rows the encoder sees are constants for the revival loss.
        dead = revival.dead
        pre_dead = torch.relu(seen.detach() @ p["W_enc_FD"][dead].t() + p["b_enc_F"][dead])
        best = pre_dead.topk(min(revival.k, len(dead)), dim=1)
        z_dead = torch.zeros_like(pre_dead).scatter(1, best.indices, best.values)
        left = residuals[-1].detach() - z_dead @ p["W_dec_FD"][dead]
        loss = loss + revival.coefficient * left.square().mean()
    loss.backward()
    gradients = {name: t.grad for name, t in p.items()}
    decoder = p["W_dec_FD"].detach()
    along = (gradients["W_dec_FD"] * decoder).sum(dim=1, keepdim=True)
    gradients["W_dec_FD"] = gradients["W_dec_FD"] - along * decoder
    return loss.item(), gradients


def assert_equal_to_dense(
    sae: Sae,
    device: str,
    revival: Revival | None = None,
    target: Tensor | None = None,
) -> None:
    """Compare with autograd on the CPU, wherever the sparse step runs."""
    x = torch.randn(B, D, generator=torch.Generator().manual_seed(3)) + 0.5
    loss, expected = dense_gradients(sae, x, revival, target)
    sae.to(device)
    revival = revival and revival._replace(dead=revival.dead.to(device))
    target = None if target is None else target.to(device)
    result = set_gradients(sae, x.to(device), revival, target)
    assert float(result.loss) == pytest.approx(loss, rel=1e-5)
    for name, parameter in sae.named_parameters():
        scale = expected[name].abs().max()
        assert scale > 0, name
        found = parameter.grad.cpu()
        assert torch.allclose(found, expected[name], atol=2e-5 * float(scale)), name


def some_dead(k: int | None) -> Revival | None:
    return None if k is None else Revival(torch.arange(5, 25), 0.7, k)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("apply_b_dec", [True, False])
@pytest.mark.parametrize("revive", [None, 30, 3])
def test_gradients_equal_dense_autograd(
    arch: str, apply_b_dec: bool, revive: int | None, device: str
) -> None:
    sae = sae_with_random_biases(arch, apply_b_dec_to_input=apply_b_dec)
    assert_equal_to_dense(sae, device, some_dead(revive))


@pytest.mark.parametrize("arch", ["topk", "batchtopk", "jumprelu"])
def test_gradients_equal_dense_autograd_where_float16_screens(
    arch: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topk_cuda, "_DEVICE", device)
    monkeypatch.setattr(topk_cuda, "_LARGE", 0)
    monkeypatch.setattr(topk_cuda, "_MORE", 0)
    monkeypatch.setattr(topk_cuda, "_FEW", 1)
    monkeypatch.setattr(topk_cuda, "_GROUP", 4)
    screened = []
    of = topk_cuda._Screen.of
    monkeypatch.setattr(topk_cuda._Screen, "of", lambda *a: screened.append(a) or of(*a))
    assert_equal_to_dense(sae_with_random_biases(arch), device)
    assert screened


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("revive", [None, 30, 3])
def test_gradients_of_a_transcoder_equal_dense_autograd(
    arch: str, revive: int | None, device: str
) -> None:
    sae = sae_with_random_biases(arch, target="layer", d_out=5)
    target = torch.randn(B, 5, generator=torch.Generator().manual_seed(4)) - 0.3
    assert_equal_to_dense(sae, device, some_dead(revive), target)


@pytest.mark.parametrize(
    ("arch", "levels"), [("hierarchical", (1, 4)), ("hierarchical", (4,)), ("matryoshka", (7, 60))]
)
def test_gradients_at_levels_of_ones_own_equal_dense_autograd(
    arch: str, levels: tuple[int, ...], device: str
) -> None:
    assert_equal_to_dense(sae_with_random_biases(arch, levels=levels), device)


def test_gradients_of_many_dead_latents_equal_dense_autograd(device: str) -> None:
    # Fewer than a sixteenth of the dead take part: the sparse way.
    sae = sae_with_random_biases("topk", d_sae=200)
    assert_equal_to_dense(sae, device, Revival(torch.arange(5, 195), 0.7, 3))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_residual_is_that_of_the_whole_reconstruction(arch: str) -> None:
    sae = sae_with_random_biases(arch)
    x = torch.randn(B, D, generator=torch.Generator().manual_seed(3))
    result = set_gradients(sae, x)
    assert torch.allclose(result.residual, x - sae.decode(result.code), atol=1e-5)


def test_fired_latents_are_those_with_a_positive_value() -> None:
    sae = sae_with_random_biases("topk")
    with torch.no_grad():
        sae.b_enc_F.fill_(-100.0)
        sae.b_enc_F[7] = 100.0
    result = set_gradients(sae, torch.randn(B, D, generator=torch.Generator().manual_seed(0)))
    assert result.fired.nonzero().flatten().tolist() == [7]


def test_a_threshold_with_nothing_near_it_does_not_move() -> None:
    sae = sae_with_random_biases("jumprelu")
    with torch.no_grad():
        sae.log_threshold_F.fill_(3.0)
    set_gradients(sae, torch.randn(B, D, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(sae.log_threshold_F.grad, torch.zeros(F))
