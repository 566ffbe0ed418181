"""ESM-2 over packed residues: many proteins in one flat tensor, no padding anywhere.

The functions here run the modules of a Hugging Face ``EsmForMaskedLM`` or ``EsmModel`` on tokens
laid end to end, so that linear layers see no pad and attention stays inside each protein. The
parameters are the library's own; only the order of the work is ours. Equality with the library's
padded forward is tested for every layer.

Shapes: N tokens, D hidden size, H heads, S segments (proteins, special tokens included).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Layout:
    """How packed tokens divide into segments, and what every block needs of that.

    Attributes
    ----------
    lengths : tuple of int
        Tokens in each segment; they sum to N.
    dtype : torch.dtype
        What the matrix products are done in; the residual stream stays in the parameters' dtype.
    rotary : tuple of Tensor, each (N, 1, head size), or None
        Cosines and sines; None for absolute positions.
    mask : Tensor, shape (N / row, 1, row, row), or None
        Keeps attention inside segments where rows of constant length are used.
    """

    lengths: tuple[int, ...]
    dtype: torch.dtype
    rotary: tuple[Tensor, Tensor] | None
    mask: Tensor | None


def make_layout(
    config: Any,
    lengths: Sequence[int],
    device: torch.device,
    *,
    dtype: torch.dtype = torch.float32,
    row: int | None = None,
) -> Layout:
    """Prepare a `Layout` for a model of `config`.

    Parameters
    ----------
    row : int, optional
        Give it if no segment crosses a multiple of `row`: attention then runs on rows of constant
        length under a mask.
    """
    rotary = None
    if config.position_embedding_type == "rotary":
        head_size = config.hidden_size // config.num_attention_heads
        cos, sin = rotary_tables(lengths, head_size, device)
        rotary = cos.to(dtype), sin.to(dtype)
    mask = None if row is None else row_mask(lengths, row, dtype, device)
    return Layout(tuple(lengths), dtype, rotary, mask)


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
    positions = positions_in_segments(lengths, device)
    return angles.cos()[positions].unsqueeze(1), angles.sin()[positions].unsqueeze(1)


def positions_in_segments(lengths: Sequence[int], device: torch.device | str) -> Tensor:
    """Return the position of each token in its segment, from 0, int64 (N,)."""
    counts = torch.tensor(list(lengths))
    starts = counts.cumsum(0) - counts
    # On the CPU and moved once: one small kernel for each segment would be slow on a GPU.
    return (torch.arange(int(counts.sum())) - starts.repeat_interleave(counts)).to(device)


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
        out: Any = varlen_attn(q_NHd, k_NHd, v_NHd, ends, ends, longest, longest, scale=1.0)
        packed: Tensor = out.reshape(n, heads * size)
        return packed
    if mask is not None:
        # Spelled out, because the library's fused CPU kernel takes twice as long in bf16.
        q, k, v = (
            t.view(len(mask), -1, heads, size).transpose(1, 2).flatten(0, 1)
            for t in (q_NHd, k_NHd, v_NHd)
        )
        scores = torch.baddbmm(mask.expand(-1, heads, -1, -1).flatten(0, 1), q, k.transpose(1, 2))
        out = torch.bmm(torch.softmax(scores, -1), v)
        joined: Tensor = out.unflatten(0, (len(mask), heads)).transpose(1, 2).reshape(n, -1)
        return joined
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


def block(x_ND: Tensor, layer: Any, layout: Layout) -> Tensor:
    """Run one pre-norm ESM block over packed tokens (N, D)."""
    dtype = layout.dtype
    attention = layer.attention.self
    heads, size = attention.num_attention_heads, attention.attention_head_size
    h = layer.attention.LayerNorm(x_ND).to(dtype)
    weight = torch.cat([attention.query.weight, attention.key.weight, attention.value.weight])
    bias = torch.cat([attention.query.bias, attention.key.bias, attention.value.bias])
    qkv = functional.linear(h, weight.to(dtype), bias.to(dtype)).view(-1, 3, heads, size)
    q, k, v = qkv.unbind(1)
    # ESM scales the query before the rotation, and the attention itself not at all.
    q = q * size**-0.5
    if layout.rotary is not None:
        q, k = rotate(q, *layout.rotary), rotate(k, *layout.rotary)
    mixed = segment_attention(q, k, v, layout.lengths, layout.mask)
    x_ND = x_ND + _linear(mixed, layer.attention.output.dense, dtype)
    h = layer.LayerNorm(x_ND).to(dtype)
    h = functional.gelu(_linear(h, layer.intermediate.dense, dtype))
    return x_ND + _linear(h, layer.output.dense, dtype)


def _linear(x: Tensor, module: Any, dtype: torch.dtype) -> Tensor:
    return functional.linear(x, module.weight.to(dtype), module.bias.to(dtype))


def embed(model: Any, ids_N: Tensor, layout: Layout) -> Tensor:
    """Return the embedding output (N, D): token dropout, positions and norm as the config asks."""
    embeddings = model.embeddings
    device = ids_N.device
    x_ND: Tensor = embeddings.word_embeddings(ids_N)
    if embeddings.token_dropout:
        masked = ids_N == embeddings.mask_token_id
        x_ND = x_ND.masked_fill(masked.unsqueeze(-1), 0.0)
        counts = torch.tensor(layout.lengths, device=device)
        segment = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
        share = torch.zeros(len(counts), device=device).index_add_(0, segment, masked.float())
        # 0.12 is the share of masks in ESM-2's training: 15 % of the residues, 80 % of those.
        factor = (1 - 0.12) / (1 - share / counts)
        x_ND = x_ND * factor[segment].unsqueeze(-1).to(x_ND.dtype)
    if layout.rotary is None:
        first = embeddings.padding_idx + 1
        positions = positions_in_segments(layout.lengths, device) + first
        x_ND = x_ND + embeddings.position_embeddings(positions)
    if embeddings.layer_norm is not None:
        x_ND = embeddings.layer_norm(x_ND)
    return x_ND


def run_blocks(
    model: Any, x_ND: Tensor, layout: Layout, first: int, last: int
) -> Iterator[tuple[int, Tensor]]:
    """Run blocks `first` + 1 to `last` on the output of layer `first`; yield (layer, (N, D)).

    The model's last layer is yielded after the final layer norm.
    """
    for number in range(first + 1, last + 1):
        x_ND = block(x_ND, model.encoder.layer[number - 1], layout)
        if number == model.config.num_hidden_layers:
            x_ND = model.encoder.emb_layer_norm_after(x_ND)
        yield number, x_ND


def hidden_states(model: Any, ids_N: Tensor, layout: Layout, last_layer: int) -> list[Tensor]:
    """Run blocks 1 to `last_layer` of an ``EsmModel`` over packed tokens.

    Parameters
    ----------
    model : EsmModel
    ids_N : Tensor, dtype=long, shape=(N,)
        Token ids of all segments, end to end, special tokens included.
    layout : Layout
    last_layer : int
        Number of blocks to run, 0 for none.

    Returns
    -------
    list of Tensor, each (N, D)
        Item L is layer L; the model's last layer comes after the final layer norm.
    """
    states = [embed(model, ids_N, layout)]
    states += [x for _, x in run_blocks(model, states[0], layout, 0, last_layer)]
    return states


def head_logits(model: Any, x_MD: Tensor) -> Tensor:
    """Return the logits (M, vocabulary) of an ``EsmForMaskedLM`` for last-layer states (M, D)."""
    head = model.lm_head
    h = head.layer_norm(functional.gelu(head.dense(x_MD)))
    logits: Tensor = functional.linear(h, head.decoder.weight, head.bias)
    return logits


def masked_logits(model: Any, ids_N: Tensor, layout: Layout, where_M: Tensor) -> Tensor:
    """Return the logits (M, vocabulary) of an ``EsmForMaskedLM`` at the token indices `where_M`."""
    x_ND = embed(model.esm, ids_N, layout)
    for _, state in run_blocks(model.esm, x_ND, layout, 0, model.config.num_hidden_layers):
        x_ND = state
    return head_logits(model, x_ND[where_M])
