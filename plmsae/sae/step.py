"""One training step's loss and gradients, by sparse operations that equal dense autograd.

With residual r = x - x̂ the loss is mean(r²). Everything follows from r and the S active entries:
the gradient of an entry's value is -2/(B·D) times the dot product of its row of r and its latent's
decoder row; weight gradients are codeᵀ @ r and (value gradients)ᵀ @ x.

An architecture that reconstructs at several levels, each with the entries of the levels so far, has
the mean of their losses. The code then has one row for each level and vector, and an entry of level
l sees the sum of the residuals of level l and above: the same formulas with that in place of r.

Shapes: B rows, D d_in (d_target in the decoder), F latents, L levels, S active entries, M dead
latents.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from plmsae.sae import kernels
from plmsae.sae.base import Sae
from plmsae.sae.sparse_code import SparseCode

# Up to so many times the dead latents that a row may have active, all products with them are dense.
_DENSE_DEAD = 16


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
    """Dead latents per row that take part."""


class _LatentGradients(NamedTuple):
    W_enc: Tensor
    W_dec: Tensor
    b_enc: Tensor
    along: Tensor
    """The part of `W_dec` along each decoder row, (F,) or (M,): what projection takes away."""


@torch.no_grad()
def set_gradients(
    sae: Sae, x_BD: Tensor, revival: Revival | None = None, target_BD: Tensor | None = None
) -> StepResult:
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
    target_BD : Tensor, float32, shape (B, d_target), optional
        What to reconstruct; by default `x_BD`.
    """
    input_BD = sae.centre(x_BD)
    if target_BD is None and sae.config.apply_b_dec_to_input:
        target_BD = input_BD
    else:
        target_BD = (x_BD if target_BD is None else target_BD) - sae.b_dec_D
    code = sae.training_code(input_BD)
    entries = _Entries.of(sae, code, x_BD.shape[0])
    scale = -2.0 / target_BD.numel()
    loss, residual_BD, pull_RD = _residuals(sae, entries.code, target_BD)

    gradients, penalty = _of_active(sae, input_BD, pull_RD, entries, scale)
    if penalty is not None:
        loss = loss + penalty
    grad_b_dec = pull_RD[: target_BD.shape[0]].sum(dim=0) * scale
    if sae.config.apply_b_dec_to_input:
        # Through x - b_dec. The column sums of the value gradients are the encoder bias's gradient.
        grad_b_dec -= gradients.b_enc @ sae.W_enc_FD
    if revival is not None and revival.dead.numel():
        aux_loss, aux = _of_dead(sae, input_BD, residual_BD, revival)
        loss = loss + aux_loss
        for total, part in zip(gradients, aux, strict=True):
            total.index_add_(0, revival.dead, part)

    along_F1 = gradients.along.unsqueeze(1)
    sae.W_dec_FD.grad = gradients.W_dec.addcmul_(along_F1, sae.W_dec_FD, value=-1)
    sae.W_enc_FD.grad = gradients.W_enc
    sae.b_enc_F.grad = gradients.b_enc
    sae.b_dec_D.grad = grad_b_dec
    # Values are never negative. (Indexing by a mask would make the host wait for a GPU.)
    fired_F = entries.by_latent.sum_weights(entries.code.values) > 0
    return StepResult(loss, residual_BD, code, fired_F)


class _Entries(NamedTuple):
    """The active entries, one row for each level and vector, in both orders."""

    code: SparseCode
    rows: Tensor
    by_latent: kernels.Transposed
    by_latent_input: kernels.Transposed

    @staticmethod
    def of(sae: Sae, code: SparseCode, n_vectors: int) -> _Entries:
        code = sae.stack_levels(code)
        rows_S = code.rows()
        by_latent = kernels.transpose(code, rows_S, sae.config.d_sae)
        of_input = by_latent
        if sae.n_levels > 1:
            of_input = by_latent._replace(rows=by_latent.rows % n_vectors)
        return _Entries(code, rows_S, by_latent, of_input)


def _residuals(sae: Sae, code: SparseCode, target_BD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss, the final residual (B, D), and what pulls at each row of the code.

    The pull of level l is the sum of the residuals of levels l and above, over the number of all.
    """
    decoded_RD = kernels.decode(code, sae.W_dec_FD)
    if sae.n_levels == 1:
        residual_BD = torch.sub(target_BD, decoded_RD, out=decoded_RD)
        return residual_BD.square().mean(), residual_BD, residual_BD
    residual_LBD = decoded_RD.view(sae.n_levels, *target_BD.shape)
    torch.sub(target_BD, residual_LBD[0], out=residual_LBD[0])
    for level in range(1, sae.n_levels):
        torch.sub(residual_LBD[level - 1], residual_LBD[level], out=residual_LBD[level])
    loss = residual_LBD.square().mean()
    residual_BD = residual_LBD[-1].clone()
    for level in range(sae.n_levels - 1, 0, -1):
        residual_LBD[level - 1].add_(residual_LBD[level])
    return loss, residual_BD, decoded_RD.div_(sae.n_levels)


def _of_active(
    sae: Sae, input_BD: Tensor, pull_RD: Tensor, entries: _Entries, scale: float
) -> tuple[_LatentGradients, Tensor | None]:
    code, rows_S, by_latent, by_latent_input = entries
    grad_values_S = kernels.value_gradients(code, rows_S, pull_RD, sae.W_dec_FD)
    grad_values_S.mul_(scale)
    # An entry adds its value times its row of the pull to the decoder's gradient, and so its value
    # times this product along the decoder row.
    along_F = by_latent.sum_weights(code.values * grad_values_S)
    penalty = sae.penalise(code, grad_values_S, by_latent)
    grad_values_S.mul_(code.values > 0)
    gradients = _LatentGradients(
        W_enc=by_latent_input.sum_rows(grad_values_S, input_BD),
        W_dec=by_latent.sum_rows(code.values * scale, pull_RD),
        b_enc=by_latent.sum_weights(grad_values_S),
        along=along_F,
    )
    return gradients, penalty


def _of_dead(
    sae: Sae, input_BD: Tensor, residual_BD: Tensor, revival: Revival
) -> tuple[Tensor, _LatentGradients]:
    """Return the weighted loss of the dead latents' reconstruction of the residual, and gradients.

    The residual itself is a constant here: revival moves dead latents only.
    """
    dead = revival.dead
    W_enc_MD, W_dec_MD, b_enc_M = sae.W_enc_FD[dead], sae.W_dec_FD[dead], sae.b_enc_F[dead]
    scale = -2.0 * revival.coefficient / residual_BD.numel()
    if dead.numel() <= _DENSE_DEAD * revival.k:
        # So large a part of them is active that GEMMs are the fast way.
        values_BM = torch.addmm(b_enc_M, input_BD, W_enc_MD.t()).relu_()
        if dead.numel() > revival.k:
            least_B1 = values_BM.topk(revival.k, dim=1, sorted=False).values.amin(1, keepdim=True)
            values_BM.mul_(values_BM >= least_B1)
        left_BD = torch.addmm(residual_BD, values_BM, W_dec_MD, alpha=-1)
        grad_values_BM = (left_BD @ W_dec_MD.t()).mul_(scale)
        along_M = (values_BM * grad_values_BM).sum(dim=0)
        grad_values_BM.mul_(values_BM > 0)
        gradients = _LatentGradients(
            W_enc=grad_values_BM.t() @ input_BD,
            W_dec=(values_BM.t() @ left_BD).mul_(scale),
            b_enc=grad_values_BM.sum(dim=0),
            along=along_M,
        )
    else:
        code = kernels.select_topk(input_BD, W_enc_MD, b_enc_M, revival.k)
        rows_S = code.rows()
        left_BD = residual_BD - kernels.decode(code, W_dec_MD)
        grad_values_S = kernels.value_gradients(code, rows_S, left_BD, W_dec_MD)
        grad_values_S.mul_(scale)
        by_latent = kernels.transpose(code, rows_S, int(dead.numel()))
        along_M = by_latent.sum_weights(code.values * grad_values_S)
        grad_values_S.mul_(code.values > 0)
        gradients = _LatentGradients(
            W_enc=by_latent.sum_rows(grad_values_S, input_BD),
            W_dec=by_latent.sum_rows(code.values * scale, left_BD),
            b_enc=by_latent.sum_weights(grad_values_S),
            along=along_M,
        )
    return revival.coefficient * left_BD.square().mean(), gradients
