"""EleutherAI's sparsify: ``cfg.json`` and ``sae.safetensors``.

TopK of relu((x - b_dec) Wᵀ + b), k in the configuration. A transcoder's input is not centred.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plmsae.core.errors import FormatError
from plmsae.sae.config import SaeConfig
from plmsae.sae.importing.common import ImportedSae, ImportOptions, SaeFormat, whole
from plmsae.sae.importing.hooks import layer_of_hook
from plmsae.sae.importing.opening import Weights, inside, read_sidecar

_FILE, _CONFIG = "sae.safetensors", "cfg.json"


def find(folder: Path, options: ImportOptions) -> Path | None:
    """Return the weights if they are there."""
    return inside(folder, _FILE) if (folder / _FILE).is_file() else None


def fits(weights: Weights) -> bool:
    """Whether these are sparsify's names."""
    return {"encoder.weight", "encoder.bias", "W_dec", "b_dec"} <= weights.names


def read(weights: Weights, options: ImportOptions) -> ImportedSae:
    """Read one folder."""
    path = inside(weights.path.parent, _CONFIG)
    if not path.is_file() and options.need_arch(weights.path, _CONFIG) != "topk":
        raise FormatError("sparsify stores only TopK SAEs", where="--arch", value=options.arch)
    cfg = read_sidecar(path)
    f, d = weights.shape("encoder.weight", 2)
    if cfg.get("num_latents") and whole(cfg["num_latents"], "num_latents", path) != f:
        raise FormatError(f"num_latents is not that of the weights ({f})", where=path, value=str(f))
    if "d_in" in cfg and whole(cfg["d_in"], "d_in", path) != d:
        raise FormatError(f"d_in is not that of the weights ({d})", where=path)
    if cfg.get("activation", "topk") != "topk":
        raise FormatError(
            "this activation function is not read", where=path, value=str(cfg["activation"])
        )
    if cfg.get("signed"):
        raise FormatError("a TopK by absolute value (signed) is not read", where=path)
    if cfg.get("skip_connection") or "W_skip" in weights.names:
        raise FormatError("a transcoder with a skip connection is not read", where=path)
    is_transcoder = cfg.get("transcode") is True
    _, out = weights.shape("W_dec", 2)
    if out != d and not is_transcoder:
        weights.take("W_dec", (f, d))
    return ImportedSae(
        config=SaeConfig(
            arch="topk",
            d_in=d,
            d_sae=f,
            k=options.need_k(path, cfg.get("k") or None),
            target="layer" if is_transcoder else "input",
            d_out=out,
        ),
        tensors={
            "W_enc": weights.take("encoder.weight", (f, d)).t(),
            "W_dec": weights.take("W_dec", (f, out)),
            "b_enc": weights.take("encoder.bias", (f,)),
            "b_dec": weights.take("b_dec", (out,)),
        },
        notes={"config": cfg, **_hook(weights.path.resolve().parent.name, path)},
    )


def _hook(folder: str, path: Path) -> dict[str, Any]:
    """Return what the folder says, which sparsify calls by the module whose output it read."""
    layer = layer_of_hook(folder, path) if "." in folder else None
    return {} if layer is None else {"hook": folder, "layer": layer}


FORMAT = SaeFormat(rank=40, find=find, fits=fits, read=read)
