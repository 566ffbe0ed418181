"""TopK: the k largest pre-activations of each row are active."""

from __future__ import annotations

from torch import Tensor

from plmsae.sae import kernels
from plmsae.sae.architecture import Architecture
from plmsae.sae.base import Sae
from plmsae.sae.sparse_code import SparseCode


class TopK(Sae):
    """Gao et al. 2024, "Scaling and evaluating sparse autoencoders", section 2.3."""

    def select(self, x_BD: Tensor) -> SparseCode:
        """Return the k largest pre-activations of each centred row, ReLU applied."""
        assert self.config.k is not None  # noqa: S101 (SaeConfig checks it)
        return kernels.select_topk(x_BD, self.W_enc_FD, self.b_enc_F, self.config.k)

    def rescale_extras(self, factor: float) -> None:
        """Do nothing: there is nothing beyond the weights."""


ARCHITECTURE = Architecture(sae=TopK, saelens_name="topk", is_saelens_class=True, needs_k=True)
