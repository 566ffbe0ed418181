"""One training step's loss and gradients, by sparse operations that equal dense autograd.

With residual r = x - x̂ the loss is mean(r²). Everything follows from r and the S active entries:
the gradient of an entry's value is -2/(B·D) times the dot product of its row of r and its latent's
decoder row; weight gradients are codeᵀ @ r and (value gradients)ᵀ @ x.

Shapes: B rows, D d_in, F latents, S active entries, M dead latents.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from plmsae.sae import kernels
from plmsae.sae.base import Sae
from plmsae.sae.code import SparseCode


class StepResult(NamedTuple):
    """What a step found; the gradients are in the ``.grad`` of the SAE's parameters."""

    loss: Tensor
    """Mean squared error an element, plus penalties and the weighted revival loss; a scalar."""
    residual: Tensor
    """Input minus reconstruction, (B, D)."""
    code: SparseCode
    """The active latents."""
    fired: Tensor
    """Which latents had a positive value in this batch, bool (F,)."""


class Revival(NamedTuple):
    """Which dead latents are revived, and how hard (AuxK, Gao et al. 2024, section A.2)."""

    dead: Tensor
    """Indices of the dead latents, int64 (M,)."""
    coefficient: float
    """Weight of the revival loss."""
    k: int
    """Dead latents a row that take part."""


class _LatentGradients(NamedTuple):
    W_enc: Tensor
    W_dec: Tensor
    b_enc: Tensor


@torch.no_grad()
def set_gradients(sae: Sae, x_BD: Tensor, revival: Revival | None = None) -> StepResult:
    """Encode, decode, and set ``.grad`` of all parameters of `sae` for a batch.

    The decoder's gradient is projected on the tangent of its rows' unit sphere.

    Parameters
    ----------
    sae : Sae
        Unit-norm decoder.
    x_BD : Tensor, float32, shape (B, d_in)
        Centred, scaled activations.
    revival : Revival, optional
        The dead latents, which learn to reconstruct the residual.
    """
    input_BD = sae.centre(x_BD)
    target_BD = input_BD if sae.config.apply_b_dec_to_input else x_BD - sae.b_dec_D
    code = sae.select_for_training(input_BD)
    residual_BD = kernels.decode(code, sae.W_dec_FD)
    torch.sub(target_BD, residual_BD, out=residual_BD)
    scale = -2.0 / x_BD.numel()
    loss = residual_BD.square().mean()

    gradients = _of_active(sae, input_BD, residual_BD, code, scale)
    grad_b_dec = residual_BD.sum(dim=0) * scale
    if sae.config.apply_b_dec_to_input:
        # Through x - b_dec. The column sums of the value gradients are the encoder bias's gradient.
        grad_b_dec -= gradients.b_enc @ sae.W_enc_FD
    if revival is not None and revival.dead.numel():
        aux_loss, aux = _of_dead(sae, input_BD, residual_BD, revival)
        loss = loss + aux_loss
        for total, part in zip(gradients, aux, strict=True):
            total.index_add_(0, revival.dead, part)

    along = torch.linalg.vecdot(gradients.W_dec, sae.W_dec_FD).unsqueeze(1)
    sae.W_dec_FD.grad = gradients.W_dec.addcmul_(along, sae.W_dec_FD, value=-1)
    sae.W_enc_FD.grad = gradients.W_enc
    sae.b_enc_F.grad = gradients.b_enc
    sae.b_dec_D.grad = grad_b_dec
    fired_F = torch.zeros_like(sae.b_enc_F, dtype=torch.bool)
    fired_F[code.indices[code.values > 0]] = True
    return StepResult(loss, residual_BD, code, fired_F)


def _of_active(
    sae: Sae, input_BD: Tensor, residual_BD: Tensor, code: SparseCode, scale: float
) -> _LatentGradients:
    rows_S = code.rows()
    grad_values_S = kernels.value_gradients(code, rows_S, residual_BD, sae.W_dec_FD)
    grad_values_S.mul_(scale).mul_(code.values > 0)
    by_latent = kernels.transpose(code, rows_S, sae.config.d_sae)
    return _LatentGradients(
        W_enc=by_latent.sum_rows(grad_values_S, input_BD),
        W_dec=by_latent.sum_rows(code.values * scale, residual_BD),
        b_enc=by_latent.sum_weights(grad_values_S),
    )


def _of_dead(
    sae: Sae, input_BD: Tensor, residual_BD: Tensor, revival: Revival
) -> tuple[Tensor, _LatentGradients]:
    """Return the weighted loss of the dead latents' reconstruction of the residual, and gradients.

    The residual itself is a constant here: revival moves dead latents only.
    """
    dead = revival.dead
    W_enc_MD, W_dec_MD, b_enc_M = sae.W_enc_FD[dead], sae.W_dec_FD[dead], sae.b_enc_F[dead]
    scale = -2.0 * revival.coefficient / residual_BD.numel()
    if dead.numel() <= revival.k:
        # All of them take part: about half the entries are positive and GEMMs are the fast way.
        values_BM = torch.addmm(b_enc_M, input_BD, W_enc_MD.t()).relu_()
        left_BD = torch.addmm(residual_BD, values_BM, W_dec_MD, alpha=-1)
        grad_values_BM = (left_BD @ W_dec_MD.t()).mul_(scale).mul_(values_BM > 0)
        gradients = _LatentGradients(
            W_enc=grad_values_BM.t() @ input_BD,
            W_dec=(values_BM.t() @ left_BD).mul_(scale),
            b_enc=grad_values_BM.sum(dim=0),
        )
    else:
        code = kernels.select_topk(input_BD, W_enc_MD, b_enc_M, revival.k)
        rows_S = code.rows()
        left_BD = residual_BD - kernels.decode(code, W_dec_MD)
        grad_values_S = kernels.value_gradients(code, rows_S, left_BD, W_dec_MD)
        grad_values_S.mul_(scale).mul_(code.values > 0)
        by_latent = kernels.transpose(code, rows_S, int(dead.numel()))
        gradients = _LatentGradients(
            W_enc=by_latent.sum_rows(grad_values_S, input_BD),
            W_dec=by_latent.sum_rows(code.values * scale, left_BD),
            b_enc=by_latent.sum_weights(grad_values_S),
        )
    return revival.coefficient * left_BD.square().mean(), gradients
