"""BatchTopK: k active latents per row on average, more where a row needs more."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from plmsae.sae import kernels
from plmsae.sae.architecture import Architecture
from plmsae.sae.base import Sae
from plmsae.sae.config import SaeConfig
from plmsae.sae.sparse_code import SparseCode

_THRESHOLD_MEMORY = 0.95


class BatchTopK(Sae):
    """Bussmann, Leask & Nanda 2024, "BatchTopK Sparse Autoencoders", sections 2 and 3.

    Training keeps the B·k largest pre-activations of a batch. Inference keeps what exceeds the
    running mean of the batches' smallest kept values, so that a code never depends on what else
    is in the batch.

    Attributes
    ----------
    threshold : Tensor, shape ()
        The running threshold; negative while nothing has been learned.
    """

    extra_names: ClassVar[tuple[str, ...]] = ("threshold",)
    begins_per_row: ClassVar[bool] = True

    threshold: Tensor
    last_threshold: Tensor

    def __init__(self, config: SaeConfig, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        self.register_buffer("threshold", torch.tensor(-1.0))
        # Where the next batch's threshold is expected; only speed depends on it.
        self.register_buffer("last_threshold", torch.tensor(-1.0))

    def select(self, x_BD: Tensor) -> SparseCode:
        """Return the pre-activations of each centred row that exceed the running threshold."""
        floor_F = self.threshold.clamp(min=0).expand(self.config.d_sae)
        return kernels.select_above(x_BD, self.W_enc_FD, self.b_enc_F, floor_F)

    def select_for_training(self, x_BD: Tensor) -> SparseCode:
        """Return the B·k largest pre-activations of the batch and update the threshold."""
        assert self.config.k is not None  # noqa: S101 (SaeConfig checks it)
        last = float(self.last_threshold)
        guess = None if last < 0 else 0.96 * last
        code, smallest = kernels.select_batch_topk(
            x_BD, self.W_enc_FD, self.b_enc_F, self.config.k, guess
        )
        self.last_threshold.copy_(smallest)
        moved = self.threshold.lerp(smallest, 1 - _THRESHOLD_MEMORY)
        self.threshold.copy_(torch.where(self.threshold < 0, smallest, moved))
        return code

    def rescale_extras(self, factor: float) -> None:
        """Bring the thresholds to another unit of activations."""
        self.threshold *= factor
        self.last_threshold *= factor

    def extra_to_stored(self, name: str) -> Tensor:
        """Return the threshold once for each latent, as JumpReLU readers expect it."""
        return self.threshold.clamp(min=0).expand(self.config.d_sae)

    @torch.no_grad()
    def extra_from_stored(self, name: str, value_F: Tensor) -> None:
        """Take over the threshold, the same for all latents."""
        self.threshold.copy_(value_F[0])
        self.last_threshold.copy_(value_F[0])


# SAELens has no inference class of its own for it.
ARCHITECTURE = Architecture(
    sae=BatchTopK, saelens_name="jumprelu", needs_k=True, one_threshold=True
)
