"""What an SAE computes does not depend on the device it is computed on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from sae_planted import Planted

from plmsae.sae import kernels, topk_cuda
from plmsae.sae.architecture import ARCHITECTURES
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.model import build_sae
from plmsae.sae.prefetch import PrefetchedBatches
from plmsae.sae.train import train


@pytest.fixture(params=[False, True], ids=["float32", "screened"])
def _screened(request: pytest.FixtureRequest, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(topk_cuda, "_DEVICE", device)
        monkeypatch.setattr(topk_cuda, "_LARGE", 0)


def problem(n: int = 200, d: int = 32, f: int = 1600) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(0)
    return tuple(torch.randn(size, generator=g) for size in ((n, d), (f, d), (f,)))


@pytest.mark.usefixtures("_screened")
def test_selection_equals_that_of_the_cpu_in_float32(device: str) -> None:
    x, W, b = problem()
    expected = kernels._select_topk(x, W, b, 8).to_csr(1600)
    found = kernels.select_topk(x.to(device), W.to(device), b.to(device), 8).to_csr(1600)
    assert (found.indices == expected.indices).all()
    assert abs(found - expected).max() < 1e-4


@pytest.mark.usefixtures("_screened")
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_codes_and_reconstructions_equal_those_of_the_cpu(
    arch: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, _, b = problem()
    sae = build_sae(SaeConfig(arch=arch, d_in=32, d_sae=1600, k=8), seed=1)
    with torch.no_grad():
        sae.b_enc_F.copy_(0.1 * b)
        if arch == "jumprelu":
            sae.log_threshold_F.fill_(0.9)
        elif arch in ("batchtopk", "matryoshka"):
            sae.threshold.fill_(2.0)
    with monkeypatch.context() as as_it_was:
        as_it_was.setattr(topk_cuda, "_LARGE", 1 << 62)
        code, rebuilt = sae.encode_csr(x), sae.reconstruct(x)
    sae.to(device)
    there = sae.encode_csr(x.to(device))
    assert code.nnz > 0
    assert there.shape == code.shape
    assert abs(there - code).max() < 1e-4
    assert torch.allclose(sae.reconstruct(x.to(device)).cpu(), rebuilt, atol=1e-3)
    # Rows may come from anywhere.
    assert abs(sae.encode_csr(x) - there).max() == 0


@pytest.mark.parametrize("pin_memory", [False, pytest.param(True, marks=pytest.mark.gpu)])
def test_batches_made_ahead_train_the_same_sae(
    device: str, pin_memory: bool, planted: Planted
) -> None:
    if pin_memory and not torch.cuda.is_available():
        pytest.skip("pinned memory needs a CUDA device")
    config = SaeConfig(d_in=16, d_sae=32, k=2)
    settings = TrainConfig(steps=40, batch_size=256, log_every=10, device=device)
    fvu: list[float] = []
    straight = train(planted, config, settings, on_metrics=lambda _, m: fvu.append(m["fvu"]))
    ahead = train(PrefetchedBatches(planted, pin_memory=pin_memory), config, settings)
    assert fvu[-1] < 0.8 * fvu[0]
    for name, weights in straight.sae.state_dict().items():
        assert torch.equal(ahead.sae.state_dict()[name], weights), name


def test_what_is_pinned_is_every_tensor_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)

    class Source:
        def iter_from(self, step: int) -> Iterator[object]:
            yield torch.zeros(2)
            yield torch.zeros(2), torch.zeros(3)
            yield {3: torch.zeros(2), 5: (torch.zeros(1), torch.zeros(1))}

    one, pair, mapping = PrefetchedBatches(Source(), pin_memory=True).iter_from(0)
    assert one.sum() == 2
    assert [float(t.sum()) for t in pair] == [2, 3]
    assert [float(mapping[3].sum()), *(float(t) for t in mapping[5])] == [2, 1, 1]
