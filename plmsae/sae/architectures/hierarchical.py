"""Hierarchical TopK: one SAE that is good at several k."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise

from plmsae.core.errors import InputError
from plmsae.sae.architecture import Architecture
from plmsae.sae.architectures.topk import TopK
from plmsae.sae.sparse_code import SparseCode


class HierarchicalTopK(TopK):
    """Balagansky et al. 2025, "Train One Sparse Autoencoder Across Multiple Sparsity Budgets".

    The loss is the mean of the losses of the reconstructions from the j largest values of a row,
    for each j of `config.levels` (the paper has all j up to k; a few powers of two give the same
    order to the latents at a fraction of the cost).
    """

    @property
    def n_levels(self) -> int:
        """Number of k's trained at once."""
        return len(self.config.levels)

    def stack_levels(self, code: SparseCode) -> SparseCode:
        """Return the code as rows of the largest, then of the next, and so on."""
        n = code.n_rows
        values_BK, order = code.values.view(n, -1).sort(dim=1, descending=True, stable=True)
        indices_BK = code.indices.view(n, -1).gather(1, order)
        bounds = (0, *self.config.levels)
        parts = [
            SparseCode.from_topk(values_BK[:, low:high], indices_BK[:, low:high])
            for low, high in pairwise(bounds)
        ]
        return SparseCode.concatenate(parts)

    def at(self, k: int) -> TopK:
        """Return the SAE that keeps the `k` largest, sharing this one's weights."""
        if self.config.k is None or not 1 <= k <= self.config.k:
            raise InputError(f"k must be between 1 and {self.config.k}", value=str(k))
        sae = TopK.__new__(TopK)
        sae.__dict__ = copy.copy(self.__dict__)
        sae.config = replace(self.config, arch="topk", k=k, levels=())
        return sae


ARCHITECTURE = Architecture(
    sae=HierarchicalTopK, saelens_name="topk", needs_k=True, n_levels=4, levels_of="k"
)
