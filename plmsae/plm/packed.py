"""ESM-2 over packed residues: many proteins in one flat tensor, no padding anywhere.

The functions here run the modules of a Hugging Face ``EsmForMaskedLM`` or ``EsmModel`` on tokens laid
end to end, so that linear layers see no pad and attention stays inside each protein. Parameters are
the library's own; only the order of the work is ours. Equality with the library's padded forward is
tested for every layer.

Shapes: N tokens, D hidden size, H heads, S segments (proteins, special tokens included).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def rotary_tables(
    lengths: Sequence[int], head_size: int, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Return cos and sin of the rotary angles, each (N, 1, head_size), positions from 0 a segment.

    Su et al. 2021, RoFormer, section 3.2.2, with base 10,000 as in ESM-2.
    """
    exponents = torch.arange(0, head_size, 2, dtype=torch.float32, device=device) / head_size
    inverse = 1.0 / (10000.0**exponents)
    longest = torch.arange(max(lengths), dtype=torch.float32, device=device)
    angles = torch.outer(longest, inverse)
    angles = torch.cat([angles, angles], dim=-1)
    positions = torch.cat([torch.arange(n, device=device) for n in lengths])
    return angles.cos()[positions].unsqueeze(1), angles.sin()[positions].unsqueeze(1)


def rotate(x_NHd: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary position embeddings to queries or keys (N, H, d)."""
    left, right = x_NHd.chunk(2, dim=-1)
    return x_NHd * cos + torch.cat([-right, left], dim=-1) * sin


def row_mask(lengths: Sequence[int], row: int, dtype: torch.dtype, device: Any) -> Tensor:
    """Return the additive mask (N / row, 1, row, row) that keeps attention inside each segment."""
    counts = torch.tensor(list(lengths), device=device)
    segment = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
    segment = segment.view(-1, row)
    same = segment.unsqueeze(1) == segment.unsqueeze(2)
    mask = torch.zeros(same.shape, dtype=dtype, device=device)
    return mask.masked_fill_(~same, float("-inf")).unsqueeze(1)


def segment_attention(
    q_NHd: Tensor, k_NHd: Tensor, v_NHd: Tensor, lengths: Sequence[int], mask: Tensor | None = None
) -> Tensor:
    """Attend within each segment; queries come already scaled. Returns (N, H·d).

    On CUDA in half precision one variable-length flash kernel does all segments. With a `mask` of
    `row_mask`, rows of equal length go through one call of constant shape, which is what the CPU's
    bf16 kernels need: they are compiled anew for every shape they meet. Otherwise runs of equally
    long segments share a call.
    """
    n, heads, size = q_NHd.shape
    if q_NHd.is_cuda and q_NHd.dtype in (torch.float16, torch.bfloat16):
        from torch.nn.attention.varlen import varlen_attn

        ends = torch.tensor([0, *lengths], device=q_NHd.device).cumsum(0).to(torch.int32)
        longest = max(lengths)
        out: Tensor = varlen_attn(q_NHd, k_NHd, v_NHd, ends, ends, longest, longest, scale=1.0)
        return out.reshape(n, heads * size)
    if mask is not None:
        q, k, v = (
            t.view(len(mask), -1, heads, size).transpose(1, 2) for t in (q_NHd, k_NHd, v_NHd)
        )
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        return out.transpose(1, 2).reshape(n, heads * size)
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
        out = functional.scaled_dot_product_attention(q, k, v, scale=1.0)
        parts.append(out.transpose(1, 2).reshape(length * count, heads * size))
        row += length * count
        index += count
    return torch.cat(parts)


def block(
    x_ND: Tensor,
    layer: Any,
    cos: Tensor,
    sin: Tensor,
    lengths: Sequence[int],
    dtype: torch.dtype,
    mask: Tensor | None = None,
) -> Tensor:
    """Run one pre-norm ESM-2 block over packed tokens (N, D); the residual stream keeps its dtype."""
    attention = layer.attention.self
    heads, size = attention.num_attention_heads, attention.attention_head_size
    h = layer.attention.LayerNorm(x_ND).to(dtype)
    weight = torch.cat([attention.query.weight, attention.key.weight, attention.value.weight])
    bias = torch.cat([attention.query.bias, attention.key.bias, attention.value.bias])
    qkv = functional.linear(h, weight.to(dtype), bias.to(dtype)).view(-1, 3, heads, size)
    q, k, v = qkv.unbind(1)
    # ESM-2 scales the query before the rotation, and the attention itself not at all.
    q = rotate(q * size**-0.5, cos, sin)
    k = rotate(k, cos, sin)
    mixed = segment_attention(q, k, v, lengths, mask)
    x_ND = x_ND + _linear(mixed, layer.attention.output.dense, dtype)
    h = layer.LayerNorm(x_ND).to(dtype)
    h = functional.gelu(_linear(h, layer.intermediate.dense, dtype))
    return x_ND + _linear(h, layer.output.dense, dtype)


def _linear(x: Tensor, module: Any, dtype: torch.dtype) -> Tensor:
    return functional.linear(x, module.weight.to(dtype), module.bias.to(dtype))


def embed(model: Any, ids_N: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return token embeddings (N, D), with ESM-2's token dropout where the config asks for it."""
    embeddings = model.embeddings
    x_ND: Tensor = embeddings.word_embeddings(ids_N)
    if embeddings.token_dropout:
        masked = ids_N == embeddings.mask_token_id
        x_ND = x_ND.masked_fill(masked.unsqueeze(-1), 0.0)
        counts = torch.tensor(list(lengths), device=ids_N.device)
        segment = torch.repeat_interleave(torch.arange(len(counts), device=ids_N.device), counts)
        share = torch.zeros(len(counts), device=ids_N.device).index_add_(
            0, segment, masked.float()
        ) / counts
        # 0.12 is the share of masked tokens in ESM-2's training (15 % of which 80 % are masks).
        x_ND = x_ND * ((1 - 0.12) / (1 - share))[segment].unsqueeze(-1).to(x_ND.dtype)
    return x_ND


def hidden_states(
    model: Any,
    ids_N: Tensor,
    lengths: Sequence[int],
    last_layer: int,
    *,
    dtype: torch.dtype = torch.float32,
    row: int | None = None,
) -> list[Tensor]:
    """Run blocks 1 to `last_layer` of an ``EsmModel`` over packed tokens.

    Parameters
    ----------
    model : EsmModel
        Without an absolute position embedding (ESM-2 has none).
    ids_N : Tensor, dtype=long, shape=(N,)
        Token ids of all segments, end to end, special tokens included.
    lengths : sequence of int
        Tokens in each segment; they sum to N.
    last_layer : int
        Number of blocks to run, 0 for none.
    dtype : torch.dtype
        What the matrix products are done in; the residual stream stays in the parameters' dtype.
    row : int, optional
        Give it if no segment crosses a multiple of `row`: attention then runs on rows of constant
        length under a mask.

    Returns
    -------
    list of Tensor, each (N, D)
        Item L is layer L; the model's last layer comes after the final layer norm.
    """
    x_ND = embed(model, ids_N, lengths)
    head_size = model.config.hidden_size // model.config.num_attention_heads
    cos, sin = (t.to(dtype) for t in rotary_tables(lengths, head_size, ids_N.device))
    mask = None if row is None else row_mask(lengths, row, dtype, ids_N.device)
    states = [x_ND]
    for layer in model.encoder.layer[:last_layer]:
        x_ND = block(x_ND, layer, cos, sin, lengths, dtype, mask)
        states.append(x_ND)
    if last_layer == model.config.num_hidden_layers:
        states[-1] = model.encoder.emb_layer_norm_after(x_ND)
    return states


def masked_logits(
    model: Any,
    ids_N: Tensor,
    lengths: Sequence[int],
    where: Tensor,
    *,
    dtype: torch.dtype,
    row: int | None = None,
) -> Tensor:
    """Return the logits (M, vocabulary) of an ``EsmForMaskedLM`` at the M token indices `where`."""
    config = model.config
    x_ND = hidden_states(
        model.esm, ids_N, lengths, config.num_hidden_layers, dtype=dtype, row=row
    )[-1]
    head = model.lm_head
    h = functional.gelu(head.dense(x_ND[where]))
    h = head.layer_norm(h)
    logits: Tensor = functional.linear(h, head.decoder.weight, head.bias)
    return logits
