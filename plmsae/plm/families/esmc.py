"""ESM C, also called ESM Cambrian (ESM Team 2024), in the format that the library reads.

Block, final norm and head follow the ``EsmcForMaskedLM`` of the transformers library. Two things
are unlike ESM-2: queries and keys pass a layer norm over all heads before they are rotated, and
what a block adds to the residual stream is divided by a factor that depends on the depth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from plmsae.plm.families.base import Family, OpenedModel
from plmsae.plm.packed import PackedLayout, linear, rotary_tables, rotate, segment_attention
from plmsae.plm.vocabulary import Vocabulary


class EsmC(Family):
    """ESM C."""

    model_types: ClassVar[tuple[str, ...]] = ("esmc",)

    def max_residues(self, config: Any, vocabulary: Vocabulary) -> int:
        """Return the positions of the config less the special tokens."""
        return int(config.max_position_embeddings) - vocabulary.n_special

    def open(
        self, source: str, *, head: bool, dtype: torch.dtype, options: Mapping[str, Any]
    ) -> OpenedModel:
        """Open an ``EsmcModel``, or an ``EsmcForMaskedLM`` if the head is asked for."""
        from transformers import EsmcForMaskedLM, EsmcModel

        return OpenedModel.load(
            EsmcModel,
            EsmcForMaskedLM,
            source,
            body="esmc",
            head_key="lm_head.",
            head=head,
            dtype=dtype,
            options=options,
        )

    def fresh(self, config: Any) -> Any:
        """Return an ``EsmcModel`` with fresh weights."""
        from transformers import EsmcModel

        return EsmcModel(config)

    def untrained(self, config: Any, blocks: int) -> Any:
        """Return the first blocks of a fresh PLM, each scaled as in one of the full depth."""
        body = super().untrained(config, blocks)
        for layer in body.layers:
            # The library divides by √(number of blocks / 36).
            layer.scaling_factor *= math.sqrt(config.num_hidden_layers / blocks)
        return body

    def keep_blocks(self, body: Any, count: int) -> None:
        """Drop all blocks after the first `count`."""
        body.layers = body.layers[:count]

    def rotary(
        self, body: Any, lengths: Sequence[int], device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor] | None:
        """Return the rotary tables, multiplied by the factor that the library computes."""
        module = body.rotary_emb
        cos, sin = rotary_tables(lengths, module.inv_freq, device, dtype)
        factor = module.attention_scaling
        return cos * factor, sin * factor

    def embed(self, body: Any, ids_N: Tensor, layout: PackedLayout) -> Tensor:
        """Return the token embeddings; ESM C has no token dropout."""
        x_ND: Tensor = body.embed_tokens(ids_N)
        return x_ND

    def block(self, body: Any, number: int, x_ND: Tensor, layout: PackedLayout) -> Tensor:
        """Run one pre-norm block with a gated feed-forward part."""
        layer = body.layers[number - 1]
        attention, mlp, dtype = layer.self_attn, layer.mlp, layout.dtype
        rotary: Any = layout.rotary
        h = layer.input_layernorm(x_ND).to(dtype)
        q = attention.q_norm(linear(h, attention.q_proj, dtype)).to(dtype)
        k = attention.k_norm(linear(h, attention.k_proj, dtype)).to(dtype)
        v = linear(h, attention.v_proj, dtype)
        q, k, v = (t.view(len(h), -1, attention.head_dim) for t in (q, k, v))
        q, k = rotate(q, *rotary), rotate(k, *rotary)
        mixed = segment_attention(q, k, v, layout, scale=attention.scaling)
        factor: float = layer.scaling_factor
        x_ND = x_ND + linear(mixed, attention.o_proj, dtype) / factor
        h = layer.post_attention_layernorm(x_ND).to(dtype)
        h = mlp.act_fn(linear(h, mlp.gate_proj, dtype)) * linear(h, mlp.up_proj, dtype)
        return x_ND + linear(h, mlp.down_proj, dtype) / factor

    def final_norm(self, body: Any, x_ND: Tensor) -> Tensor:
        """Apply the layer norm after the last block."""
        normed: Tensor = body.norm(x_ND)
        return normed

    def logits(self, with_head: Any, x_MD: Tensor) -> Tensor:
        """Return the logits of the language-modelling head."""
        logits: Tensor = with_head.lm_head(x_MD)
        return logits
