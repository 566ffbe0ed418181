"""Write a pretrained PLM as a Hugging Face folder that any ESM code opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from plmsae.core.atomic import atomic_folder
from plmsae.plm.vocabulary import esm2_tokens


def export_model(model: Any, folder: Path, *, card: str) -> Path:
    """Write ``config.json``, ``model.safetensors`` (fp16), the vocabulary and the model card.

    Parameters
    ----------
    model : EsmForMaskedLM
    folder : Path
        Replaced if it exists.
    card : str
        Markdown for ``README.md``.
    """
    config = model.config.to_dict()
    config |= {"architectures": ["EsmForMaskedLM"], "dtype": "float16"}
    # What depends on the machine or the moment has no place in a folder that is fingerprinted.
    for name in ("_name_or_path", "transformers_version"):
        config.pop(name, None)
    tensors = {
        name: tensor.detach().cpu().to(torch.float16).contiguous().clone()
        for name, tensor in model.state_dict().items()
        # The rotary frequencies follow from the config; rounding them would change the model.
        if "contact_head" not in name
        and name not in ("lm_head.decoder.weight", "esm.rotary_embeddings.inv_freq")
    }
    with atomic_folder(folder) as temporary:
        save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
        (temporary / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        (temporary / "vocab.txt").write_text("\n".join(esm2_tokens()))
        (temporary / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "EsmTokenizer", "model_max_length": 1024}) + "\n"
        )
        (temporary / "README.md").write_text(card, encoding="utf-8")
    return folder
