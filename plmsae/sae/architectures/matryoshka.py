"""Matryoshka BatchTopK: the first latents alone must reconstruct well, too."""

from __future__ import annotations

import torch

from plmsae.sae.architecture import Architecture
from plmsae.sae.architectures.batchtopk import BatchTopK
from plmsae.sae.sparse_code import SparseCode, row_offsets


class Matryoshka(BatchTopK):
    """Bussmann et al. 2025, "Learning Multi-Level Features with Matryoshka SAEs", section 3.

    BatchTopK chooses the active latents; the loss is the mean of the losses of the reconstructions
    from the first m latents, for each m of `config.levels`. General features settle among the first
    latents, and are not split and absorbed by the special ones.
    """

    @property
    def n_levels(self) -> int:
        """Number of nested SAEs."""
        return len(self.config.levels)

    def stack_levels(self, code: SparseCode) -> SparseCode:
        """Return the code as rows of the first group of latents, then of the next, and so on."""
        # Compared one by one: a tensor of the bounds would first have to travel to a GPU.
        level_S = torch.zeros_like(code.indices)
        for bound in self.config.levels[:-1]:
            level_S += code.indices >= bound
        row_S = level_S * code.n_rows + code.rows()
        ordered, order = torch.sort(row_S, stable=True)
        offsets = row_offsets(ordered, self.n_levels * code.n_rows)
        return SparseCode(code.values[order], code.indices[order], offsets)


ARCHITECTURE = Architecture(
    sae=Matryoshka,
    saelens_name="jumprelu",
    needs_k=True,
    n_levels=5,
    levels_of="d_sae",
    one_threshold=True,
)
