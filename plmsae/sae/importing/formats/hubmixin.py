"""evillegasgarcia/sae_esm2_6_l3: a hub mixin, ``config.json`` and ``model.safetensors``.

relu((x - b_dec) W_enc + b_enc) on the raw hidden state.
"""

from __future__ import annotations

from pathlib import Path

from plmsae.sae.config import SaeConfig
from plmsae.sae.importing.common import ImportedSae, ImportOptions, SaeFormat
from plmsae.sae.importing.opening import Weights, inside

_NAMES = {"W_enc", "W_dec", "b_enc", "b_dec"}


def find(folder: Path, options: ImportOptions) -> Path | None:
    """Return ``model.safetensors``."""
    return inside(folder, "model.safetensors") if (folder / "model.safetensors").is_file() else None


def fits(weights: Weights) -> bool:
    """Whether the four tensors are there and nothing that would change what they mean."""
    return weights.names == _NAMES and not (weights.path.parent / "cfg.json").exists()


def read(weights: Weights, options: ImportOptions) -> ImportedSae:
    """Read one file."""
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
    )


FORMAT = SaeFormat(rank=70, find=find, fits=fits, read=read)
