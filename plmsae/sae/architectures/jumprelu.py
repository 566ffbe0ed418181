"""JumpReLU: each latent has its own threshold, learned."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from plmsae.sae import kernels
from plmsae.sae.architecture import Architecture
from plmsae.sae.config import SaeConfig
from plmsae.sae.penalised import Penalised
from plmsae.sae.sparse_code import SparseCode

# Width ε of the kernel, in activations of unit mean square: pre-activations this near their
# threshold say where it should move. (The paper's 0.001 is for vectors of unit norm.)
BANDWIDTH = 0.1
_LOWEST_START = 0.1


class JumpReLU(Penalised):
    """Rajamanoharan et al. 2024, "Jumping Ahead", sections 3 and 4: z · H(z - θ), penalty λ · L0.

    The threshold's gradient is a straight-through estimate with a rectangular kernel of width ε:
    ∂(z · H)/∂θ = -θ/ε and ∂H/∂θ = -1/ε where z is within ε/2 of θ, and 0 elsewhere. A training code
    therefore also holds the entries just below their threshold, with the value 0.

    Attributes
    ----------
    log_threshold_F : Parameter, shape (F,)
        log θ, so that thresholds stay positive.
    """

    extra_names: ClassVar[tuple[str, ...]] = ("threshold",)
    begins_per_row: ClassVar[bool] = True

    stored_F: Tensor | None

    def __init__(self, config: SaeConfig, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        self.log_threshold_F = nn.Parameter(torch.full((config.d_sae,), _LOWEST_START).log())
        # exp(log θ) is not θ to the last bit: what was stored is used as it was.
        self.register_buffer("stored_F", None, persistent=False)

    @property
    def thresholds(self) -> Tensor:
        """The thresholds θ, shape (F,)."""
        return self.log_threshold_F.detach().exp() if self.stored_F is None else self.stored_F

    def select(self, x_BD: Tensor) -> SparseCode:
        """Return the pre-activations of each centred row that exceed their latent's threshold."""
        return kernels.select_above(x_BD, self.W_enc_FD, self.b_enc_F, self.thresholds)

    def select_for_training(self, x_BD: Tensor) -> SparseCode:
        """Return the same, and with value 0 what is positive and less than ε/2 below."""
        threshold_F = self.thresholds
        floor_F = (threshold_F - BANDWIDTH / 2).clamp_(min=0)
        code = kernels.select_above(x_BD, self.W_enc_FD, self.b_enc_F, floor_F)
        values = code.values * (code.values > threshold_F[code.indices])
        return code._replace(values=values)

    @torch.no_grad()
    def begin(self, x_BD: Tensor) -> None:
        """Set the thresholds such that a few latents are active on a row."""
        start_F = self.starting_thresholds(x_BD)
        self.log_threshold_F.copy_(start_F.clamp(min=_LOWEST_START).log())
        self.stored_F = None

    @torch.no_grad()
    def begin_free(self, x_BD: Tensor) -> None:
        """Set all thresholds to the one that keeps k per row, and the penalty to its square.

        An entry z of a unit-norm latent takes z² off the squared error, so with such a penalty one
        at the threshold is just worth its cost: L0 begins where it is to stay.
        """
        assert self.config.k is not None  # noqa: S101 (there is no first part without k)
        _, smallest = kernels.select_batch_topk(
            x_BD, self.W_enc_FD, self.b_enc_F, self.config.k, None
        )
        threshold = smallest.clamp(min=_LOWEST_START)
        self.log_threshold_F.copy_(threshold.log().expand(self.config.d_sae))
        if not self._held:
            self.penalty.copy_(threshold.square())

    def penalise(
        self, code: SparseCode, grad_values_S: Tensor, by_latent: kernels.Transposed
    ) -> Tensor | None:
        """Add ``penalty · L0``, in the unit of the loss, and set the gradient of the thresholds."""
        if self.per_row:
            self.log_threshold_F.grad = torch.zeros_like(self.log_threshold_F)
            return None
        weight = self.penalty / (code.n_rows * self.config.d_target)
        threshold_F = self.thresholds
        theta_S = threshold_F[code.indices]
        near_S = code.values < theta_S + BANDWIDTH / 2
        # Both parts of the gradient, times θ for the logarithm.
        pull_S = (theta_S * grad_values_S + weight) * theta_S * near_S
        self.log_threshold_F.grad = by_latent.sum_weights(pull_S).mul_(-1 / BANDWIDTH)
        n_active = (code.values > 0).sum()
        loss = weight * n_active
        self.adjust_penalty(n_active / code.n_rows)
        return loss

    @torch.no_grad()
    def revive(self, dead_M: Tensor) -> None:
        """Set the thresholds of dead latents to where an entry is just worth its penalty.

        Theirs rose until nothing came near them, where no gradient reaches a threshold.
        """
        if not self.per_row:
            self.log_threshold_F[dead_M] = 0.5 * self.penalty.log()

    def rescale_extras(self, factor: float) -> None:
        """Bring the thresholds to another unit of activations."""
        with torch.no_grad():
            self.log_threshold_F.add_(torch.tensor(factor).log())
            if self.stored_F is not None:
                self.stored_F.mul_(factor)

    def extra_to_stored(self, name: str) -> Tensor:
        """Return the thresholds."""
        return self.thresholds

    @torch.no_grad()
    def extra_from_stored(self, name: str, value_F: Tensor) -> None:
        """Take over the thresholds; the logarithm of zero is that of the smallest number."""
        self.stored_F = value_F.to(self.log_threshold_F, copy=True)
        self.log_threshold_F.copy_(value_F.clamp(min=torch.finfo(torch.float32).tiny).log())


ARCHITECTURE = Architecture(sae=JumpReLU, saelens_name="jumprelu", is_saelens_class=True)
