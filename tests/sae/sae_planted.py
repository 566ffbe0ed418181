"""Data planted with known features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Planted:
    """Batches of sparse sums of known unit features; batch i is the same at every call."""

    d: int = 16
    n_features: int = 24
    l0: float = 2.0
    batch_size: int = 256
    gamma: float = 3.0
    seed: int = 0

    @property
    def features(self) -> Tensor:
        # Not the seed itself: an SAE's first weights, drawn with it, would be the features.
        generator = torch.Generator().manual_seed(104_729 + self.seed)
        return torch.nn.functional.normalize(
            torch.randn(self.n_features, self.d, generator=generator), dim=1
        )

    def batch(self, i: int) -> Tensor:
        generator = torch.Generator().manual_seed(10_000 * (self.seed + 1) + i)
        shape = (self.batch_size, self.n_features)
        active = torch.rand(shape, generator=generator) < self.l0 / self.n_features
        size = 0.5 + torch.rand(shape, generator=generator)
        offset = torch.full((self.d,), self.gamma * self.l0**0.5 / self.d**0.5)
        return 7.0 * ((active * size) @ self.features + offset)

    def iter_from(self, step: int) -> Iterator[Tensor]:
        while True:
            yield self.batch(step)
            step += 1
