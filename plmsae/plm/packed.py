"""Attention and positions over packed residues: many proteins in one flat tensor, no padding.

Tokens are laid end to end, so that linear layers see no pad and attention stays inside each
protein. The families in `plmsae.plm.families` build their blocks from these parts.

Shapes: N tokens, H heads, d head size, S segments (proteins, special tokens included).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_FILLED = 32
"""For attention in bf16 on a CPU a segment's tokens are filled up to a multiple of this."""


@dataclass(frozen=True)
class PackedLayout:
    """How packed tokens divide into segments, and what every block needs of that.

    Attributes
    ----------
    lengths : tuple of int
        Tokens in each segment; they sum to N.
    dtype : torch.dtype
        What the matrix products are done in; the residual stream stays in the parameters' dtype.
    rotary : tuple of Tensor, each (N, 1, d), or None
        Cosines and sines; None for PLMs without rotary positions.
    mask : Tensor, shape (N / row, 1, row, row), or None
        Keeps attention inside segments where rows of constant length are used.
    bias : Tensor, shape (H, longest, longest), or None
        Added to the scores of a segment's first tokens: relative positions, as T5 has them.
    causal : bool
        Whether a token attends to itself and to what stands before it only.
    """

    lengths: tuple[int, ...]
    dtype: torch.dtype
    rotary: tuple[Tensor, Tensor] | None = None
    mask: Tensor | None = None
    bias: Tensor | None = None
    causal: bool = False


def rotary_tables(
    lengths: Sequence[int],
    frequencies: Tensor,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Return cos and sin of the rotary angles, each (N, 1, d), positions from 0 in each segment.

    Su et al. 2021, RoFormer, section 3.2.2. Angles are computed in float32, as the library does.

    Parameters
    ----------
    frequencies : Tensor, shape (d / 2,)
        Those the checkpoint carries: in ESM-2 they are rounded through half precision.
    """
    longest = torch.arange(max(lengths), dtype=torch.float32, device=device)
    angles = torch.outer(longest, frequencies.to(device, torch.float32))
    angles = torch.cat([angles, angles], dim=-1)
    positions = positions_in_segments(lengths, device)
    cos, sin = (table[positions].unsqueeze(1).to(dtype) for table in (angles.cos(), angles.sin()))
    return cos, sin


def positions_in_segments(lengths: Sequence[int], device: torch.device | str) -> Tensor:
    """Return the position of each token in its segment, from 0, int64 (N,)."""
    counts = torch.tensor(list(lengths))
    starts = counts.cumsum(0) - counts
    # On the CPU and moved once: one small kernel for each segment would be slow on a GPU.
    return (torch.arange(int(counts.sum())) - starts.repeat_interleave(counts)).to(device)


def segment_of_tokens(lengths: Sequence[int], device: torch.device | str) -> Tensor:
    """Return the segment that each token belongs to, int64 (N,)."""
    counts = torch.tensor(list(lengths))
    return torch.arange(len(counts)).repeat_interleave(counts).to(device)


def rotate(x_NHd: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary position embeddings to queries or keys (N, H, d)."""
    left, right = x_NHd.chunk(2, dim=-1)
    return x_NHd * cos + torch.cat([-right, left], dim=-1) * sin


def row_mask(lengths: Sequence[int], row: int, dtype: torch.dtype, device: Any) -> Tensor:
    """Return the additive mask (N / row, 1, row, row) that keeps attention inside each segment."""
    segment = segment_of_tokens(lengths, device).view(-1, row)
    same = segment.unsqueeze(1) == segment.unsqueeze(2)
    mask = torch.zeros(same.shape, dtype=dtype, device=device)
    return mask.masked_fill_(~same, float("-inf")).unsqueeze(1)


def segment_attention(
    q_NHd: Tensor, k_NHd: Tensor, v_NHd: Tensor, layout: PackedLayout, scale: float = 1.0
) -> Tensor:
    """Attend within each segment, scores multiplied by `scale`. Returns (N, H·d).

    On CUDA in half precision one variable-length flash kernel does all segments, unless a bias is
    added, which it cannot do. Where the layout has a mask, rows of equal length go through one call
    of constant shape, which is what the CPU's bf16 kernels need: they are compiled again for every
    shape they meet. Otherwise runs of equally long segments share a call; for those kernels
    segments count as equally long that are so once filled up to a multiple of `_FILLED`.
    """
    n, heads, size = q_NHd.shape
    lengths, mask, bias = layout.lengths, layout.mask, layout.bias
    if bias is None and q_NHd.is_cuda and q_NHd.dtype in (torch.float16, torch.bfloat16):
        from torch.nn.attention.varlen import varlen_attn

        ends = torch.tensor([0, *lengths], device=q_NHd.device).cumsum(0).to(torch.int32)
        longest = max(lengths)
        seen = (-1, 0) if layout.causal else (-1, -1)
        out: Any = varlen_attn(
            q_NHd, k_NHd, v_NHd, ends, ends, longest, longest, scale=scale, window_size=seen
        )
        packed: Tensor = out.reshape(n, heads * size)
        return packed
    if mask is not None:
        return _row_attention(q_NHd, k_NHd, v_NHd, mask, scale)
    if bias is None and q_NHd.dtype == torch.bfloat16 and q_NHd.device.type == "cpu":
        return _padded_attention(q_NHd, k_NHd, v_NHd, layout, scale)
    parts: list[Tensor] = []
    row = index = 0
    while index < len(lengths):
        length, count = lengths[index], 1
        while index + count < len(lengths) and lengths[index + count] == length:
            count += 1
        rows = slice(row, row + length * count)
        q, k, v = (
            t[rows].view(count, length, heads, size).transpose(1, 2) for t in (q_NHd, k_NHd, v_NHd)
        )
        added = None if bias is None else bias[:, :length, :length]
        out = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=added, is_causal=layout.causal, scale=scale
        )
        parts.append(out.transpose(1, 2).reshape(length * count, heads * size))
        row += length * count
        index += count
    return torch.cat(parts)


def _padded_attention(
    q_NHd: Tensor, k_NHd: Tensor, v_NHd: Tensor, layout: PackedLayout, scale: float
) -> Tensor:
    """Attend within segments, each filled up with tokens that nothing attends to.

    The CPU's bf16 kernels are compiled for each length, and each length takes memory of its own.
    """
    parts: list[Tensor] = []
    first = 0
    for filled, run in groupby(layout.lengths, lambda length: length + -length % _FILLED):
        length_S1 = torch.tensor([*run]).unsqueeze(1)
        start_S1 = first + length_S1.cumsum(0) - length_S1
        first = int(start_S1[-1, 0] + length_S1[-1, 0])
        place_L = torch.arange(filled)
        there_SL = place_L < length_S1
        rows_SL = start_S1 + torch.minimum(place_L, length_S1 - 1)
        q, k, v = (t[rows_SL].transpose(1, 2) for t in (q_NHd, k_NHd, v_NHd))
        # Behind a causal mask no token sees those that fill its segment up.
        mask = None if layout.causal or there_SL.all() else there_SL[:, None, None]
        out = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=layout.causal, scale=scale
        )
        parts.append(out.transpose(1, 2)[there_SL].flatten(1))
    return torch.cat(parts)


def _row_attention(
    q_NHd: Tensor, k_NHd: Tensor, v_NHd: Tensor, mask: Tensor, scale: float
) -> Tensor:
    """Attend within rows of equal length under an additive mask (rows, 1, row, row)."""
    n, heads, size = q_NHd.shape
    rows = len(mask)
    q, k, v = (t.view(rows, -1, heads, size).transpose(1, 2) for t in (q_NHd, k_NHd, v_NHd))
    if not torch.is_grad_enabled():
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
        return out.transpose(1, 2).reshape(n, -1)
    # Spelled out, because the library's fused CPU kernel has a slow backward pass in bf16.
    q, k, v = (q * scale).flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
    scores = torch.bmm(q, k.transpose(1, 2))
    # In place: neither product needs the scores again, and they are the largest tensor.
    scores.view(rows, heads, *scores.shape[1:]).add_(mask)
    out = torch.bmm(torch.softmax(scores, -1), v)
    joined: Tensor = out.view(rows, heads, -1, size).transpose(1, 2).reshape(n, -1)
    return joined


def linear(x: Tensor, module: Any, dtype: torch.dtype) -> Tensor:
    """Apply a linear module with its parameters in `dtype`."""
    bias = None if module.bias is None else module.bias.to(dtype)
    return functional.linear(x, module.weight.to(dtype), bias)
