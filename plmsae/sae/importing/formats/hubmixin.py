"""evillegasgarcia/sae_esm2_6_l3: a hub mixin, ``config.json`` and ``model.safetensors``.

relu((x - b_dec) W_enc + b_enc) on the raw hidden state.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plmsae.core.errors import FormatError
from plmsae.sae.config import SaeConfig
from plmsae.sae.formats import WEIGHTS_NAME
from plmsae.sae.importing.common import ImportedSae, ImportOptions, SaeFormat
from plmsae.sae.importing.hooks import layer_of_hook
from plmsae.sae.importing.opening import Weights, inside, read_sidecar

_CONFIG = "config.json"
# Settings of SAEs that are no plain ReLU.
_NOT_RELU = ("k", "top_k", "topk", "threshold", "jumprelu")
_NAMES = {"W_enc", "W_dec", "b_enc", "b_dec"}


def find(folder: Path, options: ImportOptions) -> Path | None:
    """Return ``model.safetensors``."""
    return inside(folder, "model.safetensors") if (folder / "model.safetensors").is_file() else None


def fits(weights: Weights) -> bool:
    """Whether the four tensors are there and nothing that would change what they mean."""
    return weights.names == _NAMES and not (weights.path.parent / "cfg.json").exists()


def read(weights: Weights, options: ImportOptions) -> ImportedSae:
    """Read one file; ``config.json`` says by the class's own settings that this is one of them."""
    path = inside(weights.path.parent, _CONFIG)
    if not path.is_file() and options.need_arch(weights.path, _CONFIG) != "relu":
        raise FormatError(
            "this layout holds only ReLU SAEs",
            where="--arch",
            value=options.arch,
            hint=f"call the file {WEIGHTS_NAME} if SAELens stored it",
        )
    facts = read_sidecar(path)
    cfg = facts["cfg"] if isinstance(facts.get("cfg"), dict) else facts
    for name in _NOT_RELU:
        if cfg.get(name):
            raise FormatError(
                f"its configuration has {name!r}, which a ReLU SAE has not",
                where=path,
                value=str(cfg[name]),
            )
    notes: dict[str, Any] = {"config": cfg}
    if isinstance(cfg.get("layer"), str):
        layer = layer_of_hook(cfg["layer"], path)
        notes |= {"hook": cfg["layer"]} if layer is None else {"hook": cfg["layer"], "layer": layer}
    d, f = weights.shape("W_enc", 2)
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (d, f),
        "W_dec": (f, d),
        "b_enc": (f,),
        "b_dec": (d,),
    }
    return ImportedSae(
        config=SaeConfig(arch="relu", d_in=d, d_sae=f, k=None),
        tensors={name: weights.take(name, shape) for name, shape in shapes.items()},
        notes=notes,
    )


FORMAT = SaeFormat(rank=70, find=find, fits=fits, read=read)
