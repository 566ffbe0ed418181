"""Causal PLMs of the GPT-2 architecture with one token per residue, such as ZymCTRL (2022).

The block follows the ``GPT2Model`` of the transformers library. A residue sees those before it
only. Where the tokenizer has the tokens ``<start>`` and ``<end>`` of ZymCTRL, they stand around the
sequence; the EC number that ZymCTRL can be given in front is left out. ProtGPT2, whose tokens are
strings of several residues, is refused by its vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.plm.families.base import Family, OpenedModel
from plmsae.plm.packed import PackedLayout, positions_in_segments, segment_attention


class Gpt2(Family):
    """GPT-2 over residues."""

    model_types: ClassVar[tuple[str, ...]] = ("gpt2",)
    layers_key: ClassVar[str] = "n_layer"
    width_key: ClassVar[str] = "n_embd"
    causal: ClassVar[bool] = True
    headless: ClassVar[str | None] = "a causal PLM predicts the next residue"

    def refuse(self, config: Mapping[str, Any], where: str) -> None:
        """Refuse models with cross-attention."""
        if config.get("add_cross_attention"):
            raise InputError("a GPT-2 with cross-attention, not a language model", where=where)

    def spelling(self, tokenizer: Any) -> Callable[[str], str]:
        """Put the tokens of ZymCTRL around a sequence where the tokenizer has them."""
        known = tokenizer.get_vocab()
        if "<start>" in known and "<end>" in known:
            return lambda sequence: f"<start>{sequence}<end>"
        return str

    def open(
        self, source: str, *, head: bool, dtype: torch.dtype, options: Mapping[str, Any]
    ) -> OpenedModel:
        """Open a ``GPT2Model``; its head, which predicts the next residue, is not used."""
        from transformers import GPT2Model

        loaded: Any = GPT2Model.from_pretrained(
            source, use_safetensors=True, trust_remote_code=False, dtype=dtype, **options
        )
        return OpenedModel(loaded, None)

    def fresh(self, config: Any) -> Any:
        """Return a ``GPT2Model`` with fresh weights."""
        from transformers import GPT2Model

        return GPT2Model(config)

    def untrained(self, config: Any, blocks: int) -> Any:
        """Return the first blocks of a fresh PLM, each as in one of the full depth."""
        body = super().untrained(config, blocks)
        # The library starts these two with a standard deviation proportional to 1/√blocks.
        factor = (blocks / config.n_layer) ** 0.5
        with torch.no_grad():
            for layer in body.h:
                layer.attn.c_proj.weight.mul_(factor)
                layer.mlp.c_proj.weight.mul_(factor)
        return body

    def keep_blocks(self, body: Any, count: int) -> None:
        """Drop all blocks after the first `count`."""
        body.h = body.h[:count]

    def embed(self, body: Any, ids_N: Tensor, layout: PackedLayout) -> Tensor:
        """Return the sum of token and position embeddings."""
        positions_N = positions_in_segments(layout.lengths, ids_N.device)
        x_ND: Tensor = body.wte(ids_N) + body.wpe(positions_N)
        return x_ND

    def block(self, body: Any, number: int, x_ND: Tensor, layout: PackedLayout) -> Tensor:
        """Run one pre-norm block."""
        layer, dtype = body.h[number - 1], layout.dtype
        attention, mlp = layer.attn, layer.mlp
        qkv = _convolve(layer.ln_1(x_ND).to(dtype), attention.c_attn, dtype)
        q, k, v = qkv.view(len(x_ND), 3, -1, attention.head_dim).unbind(1)
        mixed = segment_attention(q, k, v, layout, scale=attention.scaling)
        x_ND = x_ND + _convolve(mixed, attention.c_proj, dtype)
        h = mlp.act(_convolve(layer.ln_2(x_ND).to(dtype), mlp.c_fc, dtype))
        return x_ND + _convolve(h, mlp.c_proj, dtype)

    def final_norm(self, body: Any, x_ND: Tensor) -> Tensor:
        """Apply ``ln_f``."""
        normed: Tensor = body.ln_f(x_ND)
        return normed


def _convolve(x: Tensor, module: Any, dtype: torch.dtype) -> Tensor:
    """Apply the library's ``Conv1D``: a linear module whose weight is (inputs, outputs)."""
    return torch.addmm(module.bias.to(dtype), x, module.weight.to(dtype))
