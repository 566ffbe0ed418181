"""InterProt (Adams et al. 2025): ``esm2_plm1280_l{L}_sae4096.safetensors``.

Layer norm over d, minus b_pre, encoder, ReLU, TopK. The file does not hold k: the paper says 64,
the code 128.
"""

from __future__ import annotations

import re
from pathlib import Path

from plmsae.core.errors import FormatError
from plmsae.sae.config import SaeConfig
from plmsae.sae.importing.common import ImportedSae, ImportOptions, SaeFormat
from plmsae.sae.importing.opening import Weights, inside

_NAME = re.compile(r"esm2_plm(\d+)_l(\d+)_sae(\d+).*\.safetensors")


def find(folder: Path, options: ImportOptions) -> Path | None:
    """Return the file of the layer asked for, or the only one."""
    files = {p.name: int(m[2]) for p in folder.iterdir() if (m := _NAME.fullmatch(p.name))}
    if not files:
        return None
    chosen = sorted(n for n, layer in files.items() if options.layer in (None, layer))
    if len(chosen) != 1:
        raise FormatError(
            f"it holds the layers {', '.join(map(str, sorted(set(files.values()))))}",
            where=folder,
            hint="give --layer, or one file",
        )
    return inside(folder, chosen[0])


def fits(weights: Weights) -> bool:
    """Whether these are InterProt's names."""
    return {"w_enc", "w_dec", "b_enc", "b_pre"} <= weights.names


def read(weights: Weights, options: ImportOptions) -> ImportedSae:
    """Read one file."""
    d, f = weights.shape("w_enc", 2)
    k = options.need_k(weights.path, hint=" (64 in InterProt's paper, 128 in its code)")
    name = _NAME.fullmatch(weights.path.name)
    return ImportedSae(
        config=SaeConfig(arch="topk", d_in=d, d_sae=f, k=k, input_norm="layer_norm"),
        tensors={
            "W_enc": weights.take("w_enc", (d, f)),
            "W_dec": weights.take("w_dec", (f, d)),
            "b_enc": weights.take("b_enc", (f,)),
            "b_dec": weights.take("b_pre", (d,)),
        },
        notes={"layer": int(name[2])} if name else {},
    )


FORMAT = SaeFormat(rank=20, find=find, fits=fits, read=read)
