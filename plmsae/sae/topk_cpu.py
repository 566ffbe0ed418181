"""Exact selection at half the cost: bfloat16 finds candidates, float32 decides among them.

A bfloat16 GEMM takes less than half the time of a float32 one where the processor has the
instructions. Its pre-activations are off by at most a bound that follows from the rounding of rows
and weights (Cauchy-Schwarz; about 0.02 standard deviations for unit rows), so whatever float32
would select lies above a threshold lowered by that bound: these are the candidates, half as many
again as are selected. They are computed again in float32, and the selection is made among them.
Nothing can be lost; where the bound does not settle a row, it is left to float32.

Shapes: B rows, R rows of a chunk, D d_in, F latents, S candidates.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from plmsae.core.processor import multiplies_bf16
from plmsae.sae.gathered import gathered_dots
from plmsae.sae.sparse_code import SparseCode

_CHUNK_BYTES = 12 << 20
_GROUP = 16
# Relative rounding error of bfloat16, which has 8 significant bits.
_UNIT = 2.0**-8
_MANY = 8
_NOTHING = torch.iinfo(torch.int16).max
# Below this many multiplications, float32 is as fast.
_LARGE = 1 << 26
_HAS_BFLOAT16 = multiplies_bf16(torch.cpu.get_capabilities())


def are_worthwhile(x_BD: Tensor, W_FD: Tensor) -> bool:
    """Return whether this machine multiplies bfloat16 fast and the problem is large."""
    n = x_BD.shape[0] * W_FD.numel()
    return x_BD.device.type == "cpu" and n > _LARGE and _HAS_BFLOAT16


def topk(x_BD: Tensor, W_FD: Tensor, b_F: Tensor, k: int) -> tuple[SparseCode, Tensor] | None:
    """Return the k largest pre-activations of each row, by ascending latent, if they are positive.

    Returns
    -------
    code : SparseCode
        k entries in each settled row, none in the others.
    unsettled_B : Tensor, bool
        Rows in which fewer than k are certainly positive.

    None if the candidates are too many to be worth it, or too few latents to choose from.
    """
    d_sae = W_FD.shape[0]
    width = d_sae // _GROUP
    if width < 2 * k:
        return None
    b16_F = b_F.bfloat16()
    error_B = _error_bounds(x_BD, W_FD) + (b16_F.float() - b_F).abs().max()

    def floors(bits_RF: Tensor, rows: slice) -> Tensor:
        # k groups have maxima no less than this, so k latents have values no less.
        maxima = bits_RF[:, : width * _GROUP].view(-1, _GROUP, width).amax(dim=1).numpy()
        kth = np.partition(maxima, width - k, axis=1)[:, width - k]
        kth_R: Tensor = torch.from_numpy(kth).view(torch.bfloat16).float()
        return kth_R * (1 - 2 * _UNIT) - 2 * error_B[rows]

    candidates = _screen(x_BD, W_FD, b16_F, floors, limit=_MANY * k * x_BD.shape[0])
    if candidates is None:
        return None
    offsets, indices_S = candidates
    counts_B = offsets.diff()
    rows_S = _rows(counts_B, indices_S)
    values_S = gathered_dots(indices_S, offsets, rows_S, x_BD, W_FD).add_(b_F[indices_S])
    padded = values_S.new_full((x_BD.shape[0], max(k, int(counts_B.max()))), -torch.inf)
    places_S = torch.arange(indices_S.numel()).sub_(offsets[rows_S]).add_(rows_S * padded.shape[1])
    padded.view(-1)[places_S] = values_S
    best = padded.topk(k, dim=1, sorted=False).indices
    kept = torch.zeros_like(padded, dtype=torch.bool).scatter_(1, best, True)
    kept_S = kept.view(-1)[places_S].nonzero().squeeze(1)
    unsettled_B = counts_B == 0
    offsets = torch.nn.functional.pad((~unsettled_B * k).cumsum(0), (1, 0))
    return SparseCode(values_S[kept_S], indices_S[kept_S], offsets), unsettled_B


def above(x_BD: Tensor, W_FD: Tensor, b_F: Tensor, threshold_F: Tensor) -> SparseCode:
    """Return the pre-activations that exceed their latent's threshold, by ascending latent."""
    error_B = _error_bounds(x_BD, W_FD)
    # Margins are shifted, so that the lowered threshold is positive and the bits of candidates
    # compare like whole numbers; and rounded up, so that rounding loses none.
    shift = 2 * error_B.max() + torch.finfo(torch.float32).tiny
    margin_F = b_F - threshold_F + shift
    b16_F = (margin_F + margin_F.abs() * (2 * _UNIT)).bfloat16()
    floor_B = (shift - error_B) * (1 - 2 * _UNIT)
    candidates = _screen(x_BD, W_FD, b16_F, lambda _, rows: floor_B[rows])
    assert candidates is not None  # noqa: S101 (there is no limit)
    offsets, indices_S = candidates
    rows_S = _rows(offsets.diff(), indices_S)
    values_S = gathered_dots(indices_S, offsets, rows_S, x_BD, W_FD).add_(b_F[indices_S])
    kept_S = (values_S > threshold_F[indices_S]).nonzero().squeeze(1)
    counts_B = torch.bincount(rows_S[kept_S], minlength=x_BD.shape[0])
    offsets = torch.nn.functional.pad(counts_B.cumsum(0), (1, 0))
    return SparseCode(values_S[kept_S], indices_S[kept_S], offsets)


def _error_bounds(x_BD: Tensor, W_FD: Tensor) -> Tensor:
    """Bound, for each row, the error of a bfloat16 product with any latent; rounding it aside."""
    x16_BD, W16_FD = x_BD.bfloat16().float(), W_FD.bfloat16().float()
    largest_w = torch.linalg.vector_norm(W_FD, dim=1).max()
    largest_dw = torch.linalg.vector_norm(W16_FD.sub_(W_FD), dim=1).max()
    x_B = torch.linalg.vector_norm(x_BD, dim=1)
    dx_B = torch.linalg.vector_norm(x16_BD.sub_(x_BD), dim=1)
    summation = x_BD.shape[1] * 2.0**-23 * x_B * largest_w
    # Squares too small for float32 would be lost from the norms; they are far below the slack.
    bound_B: Tensor = (dx_B * largest_w + (x_B + dx_B) * largest_dw + summation) * 1.001
    return bound_B


def _screen(
    x_BD: Tensor,
    W_FD: Tensor,
    b16_F: Tensor,
    floors: Callable[[Tensor, slice], Tensor],
    limit: int | None = None,
) -> tuple[Tensor, Tensor] | None:
    """Return offsets (B + 1,) and latents (S,) of bfloat16 pre-activations above a row's floor.

    `floors` gets the bits of a chunk's pre-activations as int16 (R, F) and the rows, and returns
    (R,); a row whose floor is not positive has no candidates. None if there are more than `limit`.
    """
    n_rows, d_sae = x_BD.shape[0], W_FD.shape[0]
    x16_BD, W16_DF = x_BD.bfloat16(), W_FD.bfloat16().t()
    chunk = max(16, _CHUNK_BYTES // (2 * d_sae))
    buffer = x16_BD.new_empty((min(chunk, n_rows), d_sae))
    is_above = np.empty(buffer.shape, dtype=np.bool_)
    found: list[np.ndarray] = []
    offsets = np.zeros(n_rows + 1, dtype=np.int64)
    total = 0
    for start in range(0, n_rows, chunk):
        rows = slice(start, min(start + chunk, n_rows))
        n = rows.stop - start
        torch.addmm(b16_F, x16_BD[rows], W16_DF, out=buffer[:n])
        bits_RF = buffer[:n].view(torch.int16)
        # Positive floats compare like their bits, and cutting the bits of a floor lowers it.
        floor_R = floors(bits_RF, rows)
        floor_bits = (floor_R.view(torch.int32) >> 16).to(torch.int16)
        floor_bits.masked_fill_(~(floor_R > 0), _NOTHING)
        # numpy compares with vector instructions, and skips eight zeros at a time.
        np.greater_equal(bits_RF.numpy(), floor_bits.unsqueeze(1).numpy(), out=is_above[:n])
        places = np.flatnonzero(is_above[:n])
        ends = np.searchsorted(places, np.arange(1, n + 1) * d_sae)
        offsets[start + 1 : rows.stop + 1] = total + ends
        places -= np.repeat(np.arange(n) * d_sae, np.diff(ends, prepend=0))
        found.append(places)
        total += places.size
        if limit is not None and total > limit:
            return None
    indices = np.concatenate(found) if found else np.empty(0, dtype=np.int64)
    return torch.from_numpy(offsets), torch.from_numpy(indices)


def _rows(counts_B: Tensor, indices_S: Tensor) -> Tensor:
    rows = torch.arange(counts_B.numel())
    return rows.repeat_interleave(counts_B, output_size=indices_S.numel())
