"""What ReLU and JumpReLU share: a sparsity penalty whose weight finds its own value."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.sae.base import Sae
from plmsae.sae.config import SaeConfig, TrainConfig

_FIRST = 1e-2
_LOWEST, _HIGHEST = 1e-6, 1e4
# Share of itself by which the weight changes in a step when L0 is off by a factor of e.
_GAIN = 0.02


class Penalised(Sae):
    """An SAE whose number of active latents is the balance of the squared error and a penalty.

    The weight that gives a wanted L0 depends on the data, the width and the layer, so users sweep
    it. Here it is moved a little each step, up where more than `k` latents are active and down
    where fewer are, unless it is held.

    Attributes
    ----------
    penalty : Tensor, shape ()
        The weight, relative to the squared error of a vector (not of an element).
    """

    penalty: Tensor

    def __init__(self, config: SaeConfig, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        self.register_buffer("penalty", torch.tensor(_FIRST))
        self._held = False

    def take_settings(self, settings: TrainConfig) -> None:
        """Fix the weight of the penalty if it is given."""
        if settings.sparsity_coefficient is not None:
            self.penalty.fill_(settings.sparsity_coefficient)
            self._held = True
        elif self.config.k is None:
            raise InputError(f"training {self.config.arch} needs k or sparsity_coefficient")

    def adjust_penalty(self, l0: Tensor) -> None:
        """Move the weight towards an L0 of `k`."""
        if self._held or self.config.k is None:
            return
        off = (l0.clamp(min=1e-3) / self.config.k).log().clamp(-1, 1)
        self.penalty.mul_((_GAIN * off).exp()).clamp_(_LOWEST, _HIGHEST)

    @torch.no_grad()
    def starting_thresholds(self, x_BD: Tensor) -> Tensor:
        """Return, for each latent, the pre-activation that a few rows of a batch exceed: (F,).

        Half of random latents would be active on any row. Beginning with a few times `k` is what
        TopK does too, and keeps the first steps as sparse as the last. (Compare Conerly et al.
        2025, "Dictionary learning optimization techniques", on initial biases.)
        """
        share = 4 * (self.config.k or 32) / self.config.d_sae
        n = min(x_BD.shape[0], 1024)
        kept = max(1, math.ceil(min(share, 0.25) * n))
        rows = x_BD[:n]
        parts = [
            (rows @ W.t()).topk(kept, dim=0).values[-1] for W in torch.split(self.W_enc_FD, 8192)
        ]
        return torch.cat(parts).clamp_(min=0)
