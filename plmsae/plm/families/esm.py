"""ESM-1b and ESM-2 (Rives et al. 2021; Lin et al. 2023).

Block, embedding and head follow the ``EsmForMaskedLM`` of the transformers library; equality with
its padded forward is tested for every layer, on a real ESM-2 8M where one is at hand.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from plmsae.core.errors import InputError
from plmsae.plm.families.base import Family, OpenedModel
from plmsae.plm.packed import (
    PackedLayout,
    linear,
    positions_in_segments,
    rotary_tables,
    rotate,
    segment_attention,
    segment_of_tokens,
)
from plmsae.plm.vocabulary import Vocabulary, esm2_vocabulary

logger = logging.getLogger(__name__)

#: Share of residues that are masks in the training of ESM: 15 % are chosen, 80 % of those masked
#: (Devlin et al. 2019). The library writes the same constant into its forward; no checkpoint
#: states it.
_MASKED_IN_TRAINING = 0.15 * 0.8


class Esm(Family):
    """ESM-1b and ESM-2."""

    model_types: ClassVar[tuple[str, ...]] = ("esm",)

    def refuse(self, config: Mapping[str, Any], where: str) -> None:
        """Refuse folding models."""
        if config.get("is_folding_model"):
            raise InputError("a folding model, not a language model", where=where)

    def without_tokenizer_files(self, source: str, config: Any, error: Exception) -> Vocabulary:
        """Fall back to the library's own list, which all ESM checkpoints share."""
        vocabulary = esm2_vocabulary()
        if config.vocab_size != vocabulary.size:
            return super().without_tokenizer_files(source, config, error)
        logger.warning(
            "%s has no tokenizer files; taking the ESM vocabulary of the transformers library",
            source,
        )
        return vocabulary

    def max_residues(self, config: Any, vocabulary: Vocabulary) -> int:
        """Return the positions less those that the library keeps for padding and special tokens."""
        return int(config.max_position_embeddings - (config.pad_token_id + 1)) - (
            vocabulary.n_special
        )

    def open(
        self, source: str, *, head: bool, dtype: torch.dtype, options: Mapping[str, Any]
    ) -> OpenedModel:
        """Open an ``EsmModel``, or an ``EsmForMaskedLM`` if the head is asked for."""
        from transformers import EsmForMaskedLM, EsmModel

        return OpenedModel.load(
            EsmModel,
            EsmForMaskedLM,
            source,
            body="esm",
            head_key="lm_head.dense",
            head=head,
            dtype=dtype,
            options=options,
            add_pooling_layer=False,
        )

    def fresh(self, config: Any) -> Any:
        """Return an ``EsmModel`` with fresh weights."""
        from transformers import EsmModel

        return EsmModel(config, add_pooling_layer=False)

    def keep_blocks(self, body: Any, count: int) -> None:
        """Drop all blocks after the first `count`."""
        body.encoder.layer = body.encoder.layer[:count]

    def rotary(
        self, body: Any, lengths: Sequence[int], device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor] | None:
        """Return the rotary tables of ESM-2; ESM-1b embeds positions instead."""
        if body.config.position_embedding_type != "rotary":
            return None
        return rotary_tables(lengths, body.rotary_embeddings.inv_freq, device, dtype)

    def embed(self, body: Any, ids_N: Tensor, layout: PackedLayout) -> Tensor:
        """Return the embedding output: token dropout, positions and norm as the config asks."""
        embeddings = body.embeddings
        device = ids_N.device
        x_ND: Tensor = embeddings.word_embeddings(ids_N)
        if embeddings.token_dropout:
            masked = ids_N == embeddings.mask_token_id
            x_ND = x_ND.masked_fill(masked.unsqueeze(-1), 0.0)
            counts = torch.tensor(layout.lengths, device=device)
            segment = segment_of_tokens(layout.lengths, device)
            share = torch.zeros(len(counts), device=device).index_add_(0, segment, masked.float())
            # Where all is masked the embeddings are zero, and so they stay.
            seen = (1 - share / counts).clamp_min(torch.finfo(share.dtype).eps)
            factor = (1 - _MASKED_IN_TRAINING) / seen
            x_ND = x_ND * factor[segment].unsqueeze(-1).to(x_ND.dtype)
        if layout.rotary is None:
            first = embeddings.padding_idx + 1
            positions = positions_in_segments(layout.lengths, device) + first
            x_ND = x_ND + embeddings.position_embeddings(positions)
        if embeddings.layer_norm is not None:
            x_ND = embeddings.layer_norm(x_ND)
        return x_ND

    def block(self, body: Any, number: int, x_ND: Tensor, layout: PackedLayout) -> Tensor:
        """Run one pre-norm block."""
        layer = body.encoder.layer[number - 1]
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
        mixed = segment_attention(q, k, v, layout)
        x_ND = x_ND + linear(mixed, layer.attention.output.dense, dtype)
        h = layer.LayerNorm(x_ND).to(dtype)
        h = functional.gelu(linear(h, layer.intermediate.dense, dtype))
        return x_ND + linear(h, layer.output.dense, dtype)

    def final_norm(self, body: Any, x_ND: Tensor) -> Tensor:
        """Apply ``emb_layer_norm_after``."""
        normed: Tensor = body.encoder.emb_layer_norm_after(x_ND)
        return normed

    def with_new_head(self, body: Any) -> Any:
        """Return an ``EsmForMaskedLM`` with `body`; its decoder is tied to the embeddings."""
        from transformers import EsmForMaskedLM
        from transformers.models.esm.modeling_esm import EsmLMHead

        embeddings = body.embeddings.word_embeddings.weight
        # On the meta device, because the body that the library makes is replaced at once.
        with torch.device("meta"):
            with_head: Any = EsmForMaskedLM(body.config)
        with_head.esm = body
        new_head: Any = EsmLMHead
        with_head.lm_head = new_head(body.config).to(embeddings.dtype)
        with_head.lm_head.decoder.weight = embeddings
        return with_head

    def logits(self, with_head: Any, x_MD: Tensor) -> Tensor:
        """Return the logits of the language-modelling head."""
        head = with_head.lm_head
        h = head.layer_norm(functional.gelu(head.dense(x_MD)))
        logits: Tensor = functional.linear(h, head.decoder.weight, head.bias)
        return logits
