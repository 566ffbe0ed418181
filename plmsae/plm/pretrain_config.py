"""Settings of a pretraining run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from plmsae.core.errors import InputError
from plmsae.core.settings import PositiveInt, Range, Seed, Share, check_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """How an ESM-2-architecture masked language model is trained."""

    n_layers: PositiveInt = 6
    """Transformer blocks."""
    d_model: PositiveInt = 192
    """Width of the residual stream."""
    n_heads: PositiveInt = 3
    """Attention heads; they must divide `d_model`. On CPUs few wide heads are much faster than many
    narrow ones."""
    tokens_per_step: Annotated[int, Range(ge=64)] = 6144
    """Packed tokens in one optimiser step, special tokens included."""
    row: PositiveInt = 512
    """Packed tokens in a row; longer proteins give a random window of this length."""
    steps: PositiveInt = 3000
    """Optimiser steps of the whole run, cool-down included."""
    warmup_share: Share = 0.01
    """Share of the steps over which the learning rates rise from zero."""
    decay_share: Share = 0.3
    """Share of the steps, at the end, over which the learning rates fall linearly to zero."""
    matrix_lr: float = 0.02
    """Peak learning rate of Muon, for the matrices of the blocks."""
    other_lr: float = 0.002
    """Peak learning rate of AdamW, for embeddings, norms, biases and the head."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """``muon`` (matrices by Muon, the rest by AdamW) or ``adamw`` (everything, at `other_lr`)."""
    weight_decay: float = 0.01
    """Decoupled weight decay of matrices."""
    mask_share: Annotated[float, Range(gt=0, lt=1)] = 0.2
    """Share of residues to predict: 80 % masked, 10 % replaced, 10 % left (Devlin et al. 2019)."""
    clean_share: Share = 0.0
    """Share of the rows in which nothing is masked, in [0, 1]: there only the states of a teacher
    are learned, which are what SAEs are trained on."""
    token_dropout: bool = False
    """Scale the embeddings by the share of masks, as ESM-2 does; a mask then has no embedding."""
    workers: PositiveInt = 1
    """Threads that share the rows of a step; on a CPU the number of cores."""
    clip: float = 1.0
    """Gradient norm at which the gradient is clipped."""
    ema: float = 0.998
    """Decay per step of the averaged weights, which are what is evaluated and exported."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto`` is bf16 where the machine multiplies it natively, and fp32 elsewhere."""
    seed: Seed = 0
    """Seed of initial weights, batches and masks."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.d_model % self.n_heads or (self.d_model // self.n_heads) % 2:
            raise InputError(
                f"d_model ({self.d_model}) must be n_heads ({self.n_heads}) times an even number"
            )
        if self.tokens_per_step % self.row:
            raise InputError(
                f"tokens_per_step ({self.tokens_per_step}) must be a multiple of row ({self.row})"
            )
        if (self.tokens_per_step // self.row) % self.workers:
            raise InputError(
                f"the rows of a step ({self.tokens_per_step // self.row}) must be a multiple of "
                f"workers ({self.workers})"
            )

    def is_clean(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which rows of a batch (0-based numbers) stay unmasked, evenly spread."""
        import numpy as np

        share = self.clean_share
        clean: NDArray[np.bool_] = np.floor((rows + 1) * share) > np.floor(rows * share)
        return clean

    def rate(self, step: int) -> float:
        """Return the factor on both learning rates at `step` (0-based): up, flat, down to zero."""
        warmup = max(1, round(self.warmup_share * self.steps))
        decay = max(1, round(self.decay_share * self.steps))
        return max(0.0, min((step + 1) / warmup, 1.0, (self.steps - step) / decay))
