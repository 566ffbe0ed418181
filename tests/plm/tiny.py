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
    """Write a tiny PLM as a Hugging Face folder."""
    tiny_masked_lm(**changes).save_pretrained(folder)
    return folder
