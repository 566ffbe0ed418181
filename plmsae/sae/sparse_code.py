"""The sparse code of a batch: which latents are active in which row, and how strongly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor


class SparseCode(NamedTuple):
    """Active latents of B rows in compressed rows; S entries in all.

    The entries of row b are ``offsets[b]:offsets[b + 1]``. Within a row their order is free,
    no latent comes twice, and a value may be zero (a TopK row with fewer than k positive latents).
    """

    values: Tensor
    """Activation of each entry, float, shape (S,), never negative."""
    indices: Tensor
    """Latent of each entry, int64, shape (S,)."""
    offsets: Tensor
    """Where each row begins, int64, shape (B + 1,); the last is S."""

    @property
    def n_rows(self) -> int:
        """Number of rows, B."""
        return int(self.offsets.numel()) - 1

    def rows(self) -> Tensor:
        """Row of each entry, int64, shape (S,)."""
        counts = self.offsets.diff()
        rows = torch.arange(self.n_rows, device=counts.device)
        return rows.repeat_interleave(counts, output_size=int(self.indices.numel()))

    def to_csr(self, d_sae: int) -> csr_array:
        """Return the code as float32 ``csr_array`` (B, d_sae): sorted indices, no stored zeros."""
        # A copy: scipy would otherwise drop the zeros in the memory of these very tensors.
        code = csr_array(
            (
                self.values.detach().float().cpu().numpy().copy(),
                self.indices.cpu().numpy().astype(np.int32),
                self.offsets.cpu().numpy().astype(np.int64),
            ),
            shape=(self.n_rows, d_sae),
        )
        code.eliminate_zeros()
        code.sort_indices()
        return code

    @staticmethod
    def from_topk(values_BK: Tensor, indices_BK: Tensor) -> SparseCode:
        """Build the code of rows with K entries each."""
        n_rows, k = values_BK.shape
        offsets = torch.arange(0, n_rows * k + 1, k, device=values_BK.device)
        return SparseCode(values_BK.reshape(-1), indices_BK.reshape(-1), offsets)

    @staticmethod
    def concatenate(parts: Sequence[SparseCode]) -> SparseCode:
        """Put the rows of codes one after another."""
        counts = torch.cat([part.offsets.diff() for part in parts])
        return SparseCode(
            torch.cat([part.values for part in parts]),
            torch.cat([part.indices for part in parts]),
            torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
        )


def row_offsets(rows_S: Tensor, n_rows: int) -> Tensor:
    """Return where each row begins among ascending row numbers, int64 (n_rows + 1,).

    (`torch.bincount` would make the host wait for a GPU.)
    """
    numbers = torch.arange(n_rows + 1, dtype=rows_S.dtype, device=rows_S.device)
    return torch.searchsorted(rows_S, numbers)
