"""Tiny PLMs of the ESM family, built from configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def tiny_masked_lm(**changes: Any) -> Any:
    """Return a random EsmForMaskedLM of 3 blocks and 16 dimensions."""
    from transformers import EsmConfig, EsmForMaskedLM

    settings = {
        "vocab_size": 33,
        "mask_token_id": 32,
        "pad_token_id": 1,
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 32,
        "max_position_embeddings": 68,
        "position_embedding_type": "rotary",
        "token_dropout": True,
        "emb_layer_norm_before": False,
        "initializer_range": 0.3,
    }
    torch.manual_seed(0)
    return EsmForMaskedLM(EsmConfig(**{**settings, **changes})).eval()


def save_tiny(folder: Path, **changes: Any) -> Path:
    """Write a tiny PLM as a Hugging Face folder, with the library's tokenizer files of ESM."""
    tiny_masked_lm(**changes).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path) -> None:
    """Write ``vocab.txt`` with the tokens that the library itself lists for ESM."""
    from transformers.models.esm.configuration_esm import get_default_vocab_list

    (folder / "vocab.txt").write_text("\n".join(get_default_vocab_list()))


def library_states(
    folder: Path, sequences: list[str], mask: dict[int, list[int]] | None = None
) -> list[dict[int, torch.Tensor]]:
    """Return every layer of each sequence by the library's own tokenizer and padded forward.

    Special tokens are dropped. `mask` gives residues (0-based) to mask, by sequence.
    """
    from transformers import AutoTokenizer, EsmModel

    model = EsmModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(sequences, padding=True, return_tensors="pt")
    for i, places in (mask or {}).items():
        batch["input_ids"][i, [1 + p for p in places]] = tokenizer.mask_token_id
    with torch.no_grad():
        out = model(**batch, output_hidden_states=True)
    return [
        {layer: h[i, 1 : len(s) + 1] for layer, h in enumerate(out.hidden_states)}
        for i, s in enumerate(sequences)
    ]
