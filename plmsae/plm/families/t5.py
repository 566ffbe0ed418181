"""Encoders of T5: ProtT5 (Elnaggar et al. 2021), ProstT5 (Heinzinger et al. 2024), Ankh (2023).

The block follows the ``T5EncoderModel`` of the transformers library. Positions enter as a bias on
the attention scores that all blocks share; it is computed once for each batch.

How a sequence is written is read from the tokenizer. The letters of ProtT5 and ProstT5 carry the
mark of a blank before them, so residues are set apart by blanks, and U, Z, O and B are written X,
as the authors prescribe; those of Ankh carry none. ProstT5, which reads sequences and structures,
is told by a first token that residues follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from plmsae.plm.families.base import WINDOW, Family, OpenedModel
from plmsae.plm.packed import PackedLayout, linear, segment_attention
from plmsae.plm.vocabulary import Vocabulary, with_blanks

#: The token that tells ProstT5 that residues follow, not structure.
_RESIDUES_FOLLOW = "<AA2fold>"


class T5Encoder(Family):
    """ProtT5, ProstT5 and Ankh."""

    model_types: ClassVar[tuple[str, ...]] = ("t5",)
    layers_key: ClassVar[str] = "num_layers"
    width_key: ClassVar[str] = "d_model"
    headless: ClassVar[str | None] = "the encoder of a T5 is used without its decoder"
    tokenizer_hint: ClassVar[str] = (
        "copy tokenizer.json or spiece.model of the original checkpoint beside config.json; "
        "spiece.model needs the Python package sentencepiece"
    )

    def spelling(self, tokenizer: Any) -> Callable[[str], str]:
        """Set blanks between residues where the tokens carry them; begin as ProstT5 asks."""
        known = tokenizer.get_vocab()
        if "▁A" not in known:
            return str
        first = f"{_RESIDUES_FOLLOW} " if _RESIDUES_FOLLOW in known else ""
        return lambda sequence: first + with_blanks(sequence)

    def max_residues(self, config: Any, vocabulary: Vocabulary) -> int:
        """Return the usual window; relative positions have no limit of their own."""
        return WINDOW

    def open(
        self, source: str, *, head: bool, dtype: torch.dtype, options: Mapping[str, Any]
    ) -> OpenedModel:
        """Open the encoder; a decoder in the checkpoint is not read."""
        from transformers import T5EncoderModel

        loaded: Any = T5EncoderModel.from_pretrained(
            source, use_safetensors=True, trust_remote_code=False, dtype=dtype, **options
        )
        return OpenedModel(loaded.encoder, None)

    def fresh(self, config: Any) -> Any:
        """Return the encoder of a ``T5EncoderModel`` with fresh weights."""
        from transformers import T5EncoderModel

        return T5EncoderModel(config).encoder

    def keep_blocks(self, body: Any, count: int) -> None:
        """Drop all blocks after the first `count`."""
        body.block = body.block[:count]

    def bias(self, body: Any, longest: int, device: torch.device) -> Tensor | None:
        """Return the bias of relative positions, which the first block computes for all."""
        if not len(body.block):  # only layer 0 was kept
            return None
        first = body.block[0].layer[0].SelfAttention
        bias: Tensor = first.compute_bias(longest, longest, device=device)
        return bias.squeeze(0)

    def embed(self, body: Any, ids_N: Tensor, layout: PackedLayout) -> Tensor:
        """Return the token embeddings."""
        x_ND: Tensor = body.embed_tokens(ids_N)
        return x_ND

    def block(self, body: Any, number: int, x_ND: Tensor, layout: PackedLayout) -> Tensor:
        """Run one pre-norm block; attention scores are not scaled."""
        attend, forward = body.block[number - 1].layer
        attention, mlp, dtype = attend.SelfAttention, forward.DenseReluDense, layout.dtype
        h = attend.layer_norm(x_ND).to(dtype)
        q, k, v = (
            linear(h, module, dtype).view(len(h), -1, attention.key_value_proj_dim)
            for module in (attention.q, attention.k, attention.v)
        )
        mixed = segment_attention(q, k, v, layout, scale=attention.scaling)
        x_ND = x_ND + linear(mixed, attention.o, dtype)
        h = forward.layer_norm(x_ND).to(dtype)
        if hasattr(mlp, "wi_0"):
            h = mlp.act(linear(h, mlp.wi_0, dtype)) * linear(h, mlp.wi_1, dtype)
        else:
            h = mlp.act(linear(h, mlp.wi, dtype))
        # In half precision the library keeps this product, which overflows, in float32.
        wide = torch.float32 if mlp.wo.weight.dtype == torch.float32 else dtype
        return x_ND + linear(h.to(wide), mlp.wo, wide)

    def final_norm(self, body: Any, x_ND: Tensor) -> Tensor:
        """Apply the norm after the last block."""
        normed: Tensor = body.final_layer_norm(x_ND)
        return normed
