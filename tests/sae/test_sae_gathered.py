"""Dot products of some pairs of rows, by both ways torch has."""

from __future__ import annotations

import pytest
import torch

from plmsae.sae.gathered import bag_dots, gathered_dots


def problem() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    x, W = torch.randn(3, 5, generator=generator), torch.randn(7, 5, generator=generator)
    indices, offsets = torch.tensor([6, 0, 3, 3]), torch.tensor([0, 1, 1, 4])
    return indices, offsets, torch.tensor([0, 2, 2, 2]), x, W


@pytest.mark.parametrize("dots", [gathered_dots, bag_dots])
def test_each_entry_is_the_dot_product_of_its_two_rows(dots) -> None:  # type: ignore[no-untyped-def]
    indices, offsets, rows, x, W = problem()
    expected = (x[rows] * W[indices]).sum(dim=1)
    broken = "torch's embedding bag kernel changed: see plmsae/sae/gathered.py"
    assert torch.allclose(dots(indices, offsets, rows, x, W), expected, atol=1e-6), broken
