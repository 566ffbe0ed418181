"""Fixtures for the SAE tests: one thread, devices, and data planted with known features."""

from __future__ import annotations

import pytest
import torch
from sae_planted import Planted

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def planted() -> Planted:
    return Planted()


@pytest.fixture(params=["cpu", CUDA])
def device(request: pytest.FixtureRequest) -> str:
    """Where to run what must hold everywhere."""
    return str(request.param)
