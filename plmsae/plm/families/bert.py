"""ProtBert (Elnaggar et al. 2021), a BERT over residues.

Embedding, block and head follow the ``BertForMaskedLM`` of the transformers library. Layer norms
stand behind each sum, so that nothing follows the last block. Residues are set apart by blanks, and
U, Z, O and B are written X, as the authors prescribe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.plm.families.base import Family, OpenedModel
from plmsae.plm.packed import PackedLayout, linear, positions_in_segments, segment_attention
from plmsae.plm.vocabulary import with_blanks


class Bert(Family):
    """ProtBert."""

    model_types: ClassVar[tuple[str, ...]] = ("bert",)

    def refuse(self, config: Mapping[str, Any], where: str) -> None:
        """Refuse decoders."""
        if config.get("is_decoder"):
            raise InputError("a BERT that is a decoder, not an encoder", where=where)

    def spelling(self, tokenizer: Any) -> Callable[[str], str]:
        """Set blanks between residues."""
        return with_blanks

    def open(
        self, source: str, *, head: bool, dtype: torch.dtype, options: Mapping[str, Any]
    ) -> OpenedModel:
        """Open a ``BertModel``, or a ``BertForMaskedLM`` if the head is asked for."""
        from transformers import BertForMaskedLM, BertModel

        return OpenedModel.load(
            BertModel,
            BertForMaskedLM,
            source,
            body="bert",
            head_key="cls.predictions.tr",
            head=head,
            dtype=dtype,
            options=options,
            add_pooling_layer=False,
        )

    def fresh(self, config: Any) -> Any:
        """Return a ``BertModel`` with fresh weights."""
        from transformers import BertModel

        return BertModel(config, add_pooling_layer=False)

    def keep_blocks(self, body: Any, count: int) -> None:
        """Drop all blocks after the first `count`."""
        body.encoder.layer = body.encoder.layer[:count]

    def embed(self, body: Any, ids_N: Tensor, layout: PackedLayout) -> Tensor:
        """Return tokens, positions and the one token type there is, summed and normed."""
        embeddings = body.embeddings
        positions_N = positions_in_segments(layout.lengths, ids_N.device)
        x_ND = embeddings.word_embeddings(ids_N) + embeddings.token_type_embeddings.weight[0]
        normed: Tensor = embeddings.LayerNorm(x_ND + embeddings.position_embeddings(positions_N))
        return normed

    def block(self, body: Any, number: int, x_ND: Tensor, layout: PackedLayout) -> Tensor:
        """Run one post-norm block."""
        layer, dtype = body.encoder.layer[number - 1], layout.dtype
        attention, attended = layer.attention.self, layer.attention.output
        h = x_ND.to(dtype)
        q, k, v = (
            linear(h, module, dtype).view(len(h), -1, attention.attention_head_size)
            for module in (attention.query, attention.key, attention.value)
        )
        mixed = segment_attention(q, k, v, layout, scale=attention.scaling)
        x_ND = attended.LayerNorm(linear(mixed, attended.dense, dtype) + x_ND)
        h = linear(x_ND.to(dtype), layer.intermediate.dense, dtype)
        h = linear(layer.intermediate.intermediate_act_fn(h), layer.output.dense, dtype)
        normed: Tensor = layer.output.LayerNorm(h + x_ND)
        return normed

    def final_norm(self, body: Any, x_ND: Tensor) -> Tensor:
        """Return the states unchanged: the last block ends with its norm."""
        return x_ND

    def logits(self, with_head: Any, x_MD: Tensor) -> Tensor:
        """Return the logits of the language-modelling head."""
        logits: Tensor = with_head.cls(x_MD)
        return logits
