"""Biohub's ESM C SAEs: ``config.json`` and one ``layer_{i}.safetensors`` a layer.

Row z-score (the same as layer norm without weights), minus b_dec, encoder without a bias, ReLU,
TopK. The file also says of each latent its largest activation and its inverse document frequency.
Those that Biohub's README names were trained on ESM C 6B, ``esmc-6b`` in the catalogue of PLMs.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from plmsae.core.errors import FormatError
from plmsae.sae.config import SaeConfig
from plmsae.sae.importing.common import ImportedSae, ImportOptions, SaeFormat, whole
from plmsae.sae.importing.opening import Weights, inside, read_sidecar

_NAME = re.compile(r"layer_(\d+)\.safetensors")


def find(folder: Path, options: ImportOptions) -> Path | None:
    """Return the file of the layer asked for, or the only one."""
    layers = sorted(int(m[1]) for p in folder.iterdir() if (m := _NAME.fullmatch(p.name)))
    if not layers:
        return None
    if options.layer is None and len(layers) > 1:
        raise FormatError(
            f"it holds the layers {', '.join(map(str, layers))}", where=folder, hint="give --layer"
        )
    layer = layers[0] if options.layer is None else options.layer
    if layer not in layers:
        raise FormatError(f"it holds no layer {layer}", where=folder, hint=f"it has {layers}")
    return inside(folder, f"layer_{layer}.safetensors")


def fits(weights: Weights) -> bool:
    """Whether these are the names: no encoder bias, but a scale of each latent."""
    return {"W_enc", "W_dec", "b_dec"} <= weights.names and "b_enc" not in weights.names


def read(weights: Weights, options: ImportOptions) -> ImportedSae:
    """Read one layer's file and ``config.json`` beside it."""
    path = inside(weights.path.parent, "config.json")
    facts = read_sidecar(path)
    d, f = weights.shape("W_enc", 2)
    for name, found in (("d_model", d), ("codebook_dim", f)):
        if name in facts and whole(facts[name], name, path) != found:
            raise FormatError(
                f"{name} is not the width of the weights ({found})",
                where=path,
                value=str(facts[name]),
            )
    k = options.need_k(weights.path, facts.get("k"))
    layer = _NAME.fullmatch(weights.path.name)
    per_latent = {"idf": "idf", "max": "max_activation"}
    return ImportedSae(
        config=SaeConfig(arch="topk", d_in=d, d_sae=f, k=k, input_norm="layer_norm"),
        tensors={
            "W_enc": weights.take("W_enc", (d, f)),
            "W_dec": weights.take("W_dec", (f, d)),
            "b_enc": torch.zeros(f),
            "b_dec": weights.take("b_dec", (d,)),
        },
        notes={"config": facts} | ({"layer": int(layer[1])} if layer else {}),
        per_latent={
            ours: weights.take(theirs, (f,))
            for theirs, ours in per_latent.items()
            if theirs in weights.names
        },
    )


FORMAT = SaeFormat(rank=60, find=find, fits=fits, read=read)
