"""Fixtures for the SAE tests: one thread, and data planted with known features."""

from __future__ import annotations

import pytest
import torch
from sae_planted import Planted


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def planted() -> Planted:
    return Planted()
