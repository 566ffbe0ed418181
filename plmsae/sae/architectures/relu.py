"""ReLU with an L1 penalty: the classic SAE."""

from __future__ import annotations

import torch
from torch import Tensor

from plmsae.sae import kernels
from plmsae.sae.architecture import Architecture
from plmsae.sae.penalised import Penalised
from plmsae.sae.sparse_code import SparseCode


class ReLU(Penalised):
    """Every positive pre-activation is active; training presses on their sum.

    The penalty is the sum of values, each times the norm of its decoder row (Conerly et al. 2024,
    "Update on how we train SAEs"), so that it cannot be escaped by large decoder rows. Here rows
    are held at unit norm: the weights are 1, and the penalty's gradient with respect to the decoder
    is along the rows, where no step goes.
    """

    def select(self, x_BD: Tensor) -> SparseCode:
        """Return the positive pre-activations of each centred row."""
        return kernels.select_above(
            x_BD, self.W_enc_FD, self.b_enc_F, torch.zeros_like(self.b_enc_F)
        )

    @torch.no_grad()
    def begin(self, x_BD: Tensor) -> None:
        """Set the biases such that a few latents are active on a row."""
        self.b_enc_F.copy_(-self.starting_thresholds(x_BD))

    def penalise(
        self, code: SparseCode, grad_values_S: Tensor, by_latent: kernels.Transposed
    ) -> Tensor:
        """Add ``penalty · Σ values``, the mean over rows, in the unit of the loss."""
        n_elements = code.n_rows * self.config.d_target
        weight = self.penalty / n_elements
        grad_values_S.add_(weight)
        loss = weight * code.values.sum()
        self.adjust_penalty((code.values > 0).sum() / code.n_rows)
        return loss

    def rescale_extras(self, factor: float) -> None:
        """Do nothing: there is nothing beyond the weights."""


ARCHITECTURE = Architecture(sae=ReLU, saelens_name="standard", is_saelens_class=True)
