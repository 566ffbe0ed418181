"""A training step stays on its device, and rarely waits for it: on a device that is pretended."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
import torch
from sae_elsewhere import DEVICE, Away, Elsewhere

from plmsae.sae import topk_cuda
from plmsae.sae.architecture import ARCHITECTURES
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.scaling import Scaling
from plmsae.sae.trainer import Trainer

# A step waits to learn how many latents are dead, and how many rows are left to float32; the
# architectures that select by a threshold, also how many entries are above it (twice a chunk, and
# once more when they are computed again; BatchTopK reads its threshold and may look twice).
MOST_WAITS = {"topk": 2, "hierarchical": 2, "relu": 4, "jumprelu": 4}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    # Torch's fused Adam does not know the device.
    plain = functools.partial(torch.optim.Adam, foreach=False)
    monkeypatch.setattr(torch.optim, "Adam", lambda parameters, fused: plain(parameters))
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    with Elsewhere() as mode:
        yield mode
    torch.__future__.set_overwrite_module_params_on_conversion(before)


def batches() -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return [torch.randn(64, 16, generator=g) for _ in range(3)]


def trainer(arch: str, device: torch.device) -> Trainer:
    config = SaeConfig(arch=arch, d_in=16, d_sae=1024, k=4)
    # No part in which all would choose like TopK.
    settings = TrainConfig(steps=10, batch_size=64, per_row_share=0.0)
    return Trainer(config, settings, Scaling(torch.zeros(16), 1.0, 0.0), device)


@pytest.mark.parametrize("large", [0, 1 << 62], ids=["screened", "float32"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_steps_stay_on_their_device_and_give_what_the_cpu_gives(
    arch: str, large: int, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topk_cuda, "_LARGE", large)
    x, *more = batches()
    runs = []
    for device in (torch.device("cpu"), DEVICE):
        monkeypatch.setattr(topk_cuda, "_DEVICE", device.type)
        runs.append(trainer(arch, device))
        # Not a first step: what fits to a batch exactly is decided by rounding.
        runs[-1].step_count = 1
        runs[-1].step(x.to(device))
    here, there = runs
    expected, found = here.state_tensors(), there.state_tensors()
    assert not any(isinstance(tensor, Away) for tensor in found.values())
    for name in (name for name in found if name.endswith("exp_avg")):
        scale = float(expected[name].abs().max())
        assert scale > 0
        # Adam's first mean is the gradient.
        assert torch.allclose(found[name], expected[name], atol=1e-4 * scale), name

    there.sae.begin(more[0].to(DEVICE))
    there.sae.begin_free(more[0].to(DEVICE))
    for x in more:
        elsewhere.waits = 0
        result, _ = there.step(x.to(DEVICE))
    assert 0 < elsewhere.waits <= MOST_WAITS.get(arch, 8)
    kept = (*there.sae.state_dict().values(), *result[:2], result.code.values, result.fired)
    assert all(isinstance(tensor, Away) for tensor in kept)
    finished = there.finished_sae()
    assert not any(isinstance(tensor, Away) for tensor in finished.state_dict().values())
    code, same = finished.encode_csr(x), there.sae.encode_csr(x)
    assert code.shape == same.shape
    assert abs(code - same).max() < 1e-3


def test_the_pretended_device_refuses_what_a_gpu_refuses(elsewhere: Elsewhere) -> None:
    x = torch.ones(3, device=DEVICE)
    with pytest.raises(RuntimeError, match="tensors of the CPU"):
        x + torch.ones(3)
    with pytest.raises((TypeError, RuntimeError)):
        x.numpy()
    assert float((x * 2).cpu().sum()) == 6
    assert elsewhere.waits == 0
    assert bool((x > 0).all())
    assert elsewhere.waits == 1
