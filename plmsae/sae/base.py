"""The base of all architectures: weights, encode, decode, save.

Shapes: N rows (any number), B rows (one chunk), D d_in, F d_sae.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from scipy.sparse import csr_array, vstack
from torch import Tensor, nn

from plmsae.core.errors import InputError
from plmsae.sae import formats, kernels
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.normalize import normalize
from plmsae.sae.sparse_code import SparseCode

_ROWS_AT_ONCE = 4096


class Sae(nn.Module, ABC):
    """A sparse autoencoder: x ≈ decode(encode(x)) with few of F latents active.

    An architecture is a subclass that says which latents are active (`select`), which are while
    training if that differs (`select_for_training`), and what it must store beyond the common
    weights (`extra_names`).

    Parameters
    ----------
    config : SaeConfig
        What to build.
    seed : int
        Seed of the initial weights: unit-norm decoder rows, the encoder tied to them, biases zero.

    Attributes
    ----------
    W_enc_FD, W_dec_FD : Parameter, shape (F, D)
        One row per latent in both. (On disk the encoder is (D, F), as in SAELens.) The decoder of
        a transcoder has the width of its target.
    b_enc_F, b_dec_D : Parameter
        Biases.
    per_row : bool
        Whether training is in its first part, in which each row keeps its k largest
        pre-activations (`TrainConfig.per_row_share`).
    """

    extra_names: ClassVar[tuple[str, ...]] = ()
    """Buffers and parameters stored beside the four common ones."""
    begins_per_row: ClassVar[bool] = False
    """Whether training begins with each row keeping its k largest, and goes on otherwise."""

    def __init__(self, config: SaeConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        encoder = _unit_rows(config.d_sae, config.d_in, generator)
        decoder = encoder.clone()
        if config.is_transcoder:
            decoder = _unit_rows(config.d_sae, config.d_target, generator)
        self.W_dec_FD = nn.Parameter(decoder)
        self.W_enc_FD = nn.Parameter(encoder)
        self.b_enc_F = nn.Parameter(torch.zeros(config.d_sae))
        self.b_dec_D = nn.Parameter(torch.zeros(config.d_target))
        self.per_row = False

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_enc_FD.device

    @abstractmethod
    def select(self, x_BD: Tensor) -> SparseCode:
        """Return the active latents of centred rows; each row's depend on that row alone."""

    def select_for_training(self, x_BD: Tensor) -> SparseCode:
        """Return the active latents of a training batch; may update running statistics."""
        return self.select(x_BD)

    def training_code(self, x_BD: Tensor) -> SparseCode:
        """Return `select_for_training`, or while `per_row` the k largest of each row."""
        if not self.per_row:
            return self.select_for_training(x_BD)
        assert self.config.k is not None  # noqa: S101 (there is no such part without k)
        return kernels.select_topk(x_BD, self.W_enc_FD, self.b_enc_F, self.config.k)

    @property
    def n_levels(self) -> int:
        """Number of reconstructions trained at once, each from the latents of the levels so far."""
        return 1

    def stack_levels(self, code: SparseCode) -> SparseCode:
        """Return a training code as one of ``n_levels * B`` rows, level after level."""
        return code

    def take_settings(self, settings: TrainConfig) -> None:
        """Take what an architecture needs of the settings of its training, before the first step.

        Raises
        ------
        InputError
            If it cannot be trained like that.
        """

    def begin(self, x_BD: Tensor) -> None:
        """Fit what random weights leave open to the first batch (centred and scaled)."""

    def begin_free(self, x_BD: Tensor) -> None:
        """Fit what `per_row` left untrained to the first batch after it."""

    def revive(self, dead_M: Tensor) -> None:
        """Put right what keeps dead latents, int64 (M,), from firing, beyond their weights."""

    def penalise(
        self, code: SparseCode, grad_values_S: Tensor, by_latent: kernels.Transposed
    ) -> Tensor | None:
        """Add a penalty to the loss: return it, and add its gradient to that of the values.

        Called once a training step, after `select_for_training`; sets ``.grad`` of the parameters
        that only this architecture has.

        Parameters
        ----------
        code : SparseCode
            The training code; S entries.
        grad_values_S : Tensor
            Gradient of the reconstruction loss with respect to the values; changed in place.
        by_latent : Transposed
            The same entries, in the order of latents.
        """
        return None

    @abstractmethod
    def rescale_extras(self, factor: float) -> None:
        """Multiply what is stored beyond the weights in the unit of activations by `factor`."""

    def centre(self, x_ND: Tensor) -> Tensor:
        """Return what the encoder sees of raw rows."""
        return x_ND - self.b_dec_D if self.config.apply_b_dec_to_input else x_ND

    @torch.no_grad()
    def encode(self, x_ND: Tensor) -> SparseCode:
        """Encode raw activations.

        Parameters
        ----------
        x_ND : Tensor, shape (N, d_in)
            Raw activations, any float type, on any device.

        Returns
        -------
        SparseCode
            The active latents, on the device of this SAE.
        """
        if x_ND.ndim != 2 or x_ND.shape[1] != self.config.d_in:
            raise InputError(
                f"activations must have shape (n, {self.config.d_in})", value=str(tuple(x_ND.shape))
            )
        normalized = normalize(x_ND.to(self.W_enc_FD), self.config.input_norm)
        return self.select(self.centre(normalized.rows))

    @torch.no_grad()
    def decode(self, code: SparseCode, like_ND: Tensor | None = None) -> Tensor:
        """Return the reconstruction, float32 (N, d_target), of a code.

        Parameters
        ----------
        code : SparseCode
            N rows.
        like_ND : Tensor, shape (N, d_in), optional
            The raw rows the code came from. Only an SAE that normalises its input needs them: each
            row's own mean and scale, which the code does not hold, are put back. (A transcoder's
            target is never normalised.)
        """
        y_ND = kernels.decode(code, self.W_dec_FD) + self.b_dec_D
        if self.config.input_norm == "none" or self.config.is_transcoder:
            return y_ND
        if like_ND is None:
            raise InputError(
                "this SAE normalises its input: to decode, give the rows the code came from"
            )
        return normalize(like_ND.to(self.W_enc_FD), self.config.input_norm).restore(y_ND)

    def encode_csr(self, x_ND: Tensor) -> csr_array:
        """Encode raw activations in chunks, in bounded memory.

        Returns
        -------
        csr_array, float32, shape (N, d_sae)
            Sorted indices, no explicit zeros.
        """
        chunks = [
            self.encode(x).to_csr(self.config.d_sae) for x in torch.split(x_ND, _ROWS_AT_ONCE)
        ]
        return chunks[0] if len(chunks) == 1 else csr_array(vstack(chunks, format="csr"))

    def reconstruct(self, x_ND: Tensor) -> Tensor:
        """Return decode(encode(x)) of raw activations, in chunks: float32 (N, d_target)."""
        parts = [self.decode(self.encode(x), x) for x in torch.split(x_ND, _ROWS_AT_ONCE)]
        return torch.cat(parts)

    def forward(self, x_ND: Tensor) -> Tensor:
        """Return the reconstruction of raw activations (no gradient flows; see `step.py`)."""
        return self.reconstruct(x_ND)

    @torch.no_grad()
    def fold_scaling(
        self,
        mean_D: Tensor,
        factor: float,
        target_mean_D: Tensor | None = None,
        target_factor: float | None = None,
    ) -> None:
        """Make an SAE of ``(x - mean) * factor`` one of raw x, in place and exactly equivalent.

        The decoder keeps its unit norm; biases and latents take the unit of the raw target, that
        is, are divided by its factor. A target scaled otherwise than the input has its own mean and
        factor.
        """
        target_mean_D = mean_D if target_mean_D is None else target_mean_D
        target_factor = factor if target_factor is None else target_factor
        if not self.config.apply_b_dec_to_input:
            # Without a bias on its input, the encoder must itself take the mean away.
            self.b_enc_F.sub_(factor * (self.W_enc_FD @ mean_D))
        if target_factor != factor:
            self.W_enc_FD.mul_(factor / target_factor)
        self.b_enc_F.div_(target_factor)
        self.b_dec_D.div_(target_factor).add_(target_mean_D)
        self.rescale_extras(1 / target_factor)

    def at(self, k: int) -> Sae:
        """Return the SAE that keeps the `k` largest of each row, sharing this one's weights.

        Raises
        ------
        InputError
            If the architecture is good at its own k only, or `k` is out of range.
        """
        raise InputError(
            f"the file says k = {self.config.k}, not {k}",
            hint="only a hierarchical SAE is good at another",
        )

    def save(self, folder: Path) -> None:
        """Write ``cfg.json`` and ``sae_weights.safetensors``, as SAELens does, atomically."""
        formats.write_sae(Path(folder), self.config, self.stored_tensors())

    def stored_tensors(self) -> dict[str, Tensor]:
        """Return what is stored, under SAELens's names and in its layout."""
        tensors = {
            "W_enc": self.W_enc_FD.detach().t(),
            "W_dec": self.W_dec_FD.detach(),
            "b_enc": self.b_enc_F.detach(),
            "b_dec": self.b_dec_D.detach(),
        }
        for name in self.extra_names:
            tensors[name] = self.extra_to_stored(name)
        return {name: t.float().cpu().contiguous() for name, t in tensors.items()}

    @torch.no_grad()
    def take_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over stored weights (checked by `formats.read_sae`)."""
        self.W_enc_FD.copy_(tensors["W_enc"].t())
        self.W_dec_FD.copy_(tensors["W_dec"])
        self.b_enc_F.copy_(tensors["b_enc"])
        self.b_dec_D.copy_(tensors["b_dec"])
        for name in self.extra_names:
            self.extra_from_stored(name, tensors[name])

    def extra_to_stored(self, name: str) -> Tensor:
        """Return the stored form, shape (F,), of one of `extra_names`."""
        raise NotImplementedError(name)

    def extra_from_stored(self, name: str, value_F: Tensor) -> None:
        """Take over one of `extra_names` from its stored form, shape (F,)."""
        raise NotImplementedError(name)


def _unit_rows(n: int, width: int, generator: torch.Generator) -> Tensor:
    rows = torch.randn((n, width), generator=generator)
    rows /= torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows
