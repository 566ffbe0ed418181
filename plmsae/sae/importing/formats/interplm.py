"""InterPLM (Simon & Zou 2025): ``layer_N/{ae_normalized.pt, ae_unnormalized.pt, config.yaml}``.

relu((x - bias) Wᵀ + b) on the raw hidden state. Two conventions share the name "normalized": older
files have 1 / max of each latent folded into the encoder and max into the decoder, so that latents
lie in [0, 1]; newer ones keep max in the buffer ``activation_rescale_factor`` and leave the weights
alone. Training holds decoder columns at norm 1, so their norms tell which one a file follows.

The max of a latent that never fired is 0. Divided by it, the encoder of an older file holds NaN
there (what became infinite was set to 0) beside a decoder of zeros: such a latent is dead, and
stays so.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from plmsae.core.errors import FormatError
from plmsae.sae.choices import ScaleConvention
from plmsae.sae.config import InputNorm, SaeConfig
from plmsae.sae.importing.common import ImportedSae, ImportOptions, SaeFormat
from plmsae.sae.importing.hub import INTERPLM_FILES
from plmsae.sae.importing.opening import Weights, inside, read_sidecar

_SCALE = "activation_rescale_factor"


def find(folder: Path, options: ImportOptions) -> Path | None:
    """Return the normalised file if there is one, else the other, of the layer asked for."""
    layers = sorted(
        int(p.name.removeprefix("layer_"))
        for p in folder.glob("layer_*")
        if p.is_dir() and p.name.removeprefix("layer_").isdigit()
    )
    if layers:
        if options.layer is None and len(layers) > 1:
            raise FormatError(
                f"it holds the layers {', '.join(map(str, layers))}",
                where=folder,
                hint="give --layer",
            )
        layer = layers[0] if options.layer is None else options.layer
        if layer not in layers:
            raise FormatError(f"it holds no layer {layer}", where=folder, hint=f"it has {layers}")
        folder = inside(folder, f"layer_{layer}")
    for name in INTERPLM_FILES:
        if (folder / name).is_file():
            return inside(folder, name)
    return None


def fits(weights: Weights) -> bool:
    """Whether these are InterPLM's names."""
    return {"bias", "encoder.weight", "encoder.bias", "decoder.weight"} <= weights.names


def read(weights: Weights, options: ImportOptions) -> ImportedSae:
    """Read one file; `ImportedSae.notes` says which convention it follows."""
    if not fits(weights):
        raise FormatError("only InterPLM's ReLU SAEs are read", where=weights.path)
    f, d = weights.shape("encoder.weight", 2)
    W_dec_DF = weights.take("decoder.weight", (d, f))
    scale_F = weights.take(_SCALE, (f,)) if _SCALE in weights.names else None
    if scale_F is not None and (scale_F < 0).any():
        raise FormatError(f"{_SCALE} must not be negative", where=weights.path)
    convention = options.convention or _convention(weights.path, W_dec_DF, scale_F)
    input_norm: InputNorm = (
        "constant_norm_rescale" if weights.number("normalize_to_sqrt_d") else "none"
    )
    facts = read_sidecar(inside(weights.path.parent, "config.yaml"))
    if convention == "folded":
        scale_F = (W_dec_DF != 0).any(dim=0).float()
    per_latent = {} if scale_F is None or convention == "raw" else {"max_activation": scale_F}
    W_enc_FD, b_enc_F = _encoder(weights, (f, d), W_dec_DF)
    return ImportedSae(
        config=SaeConfig(arch="relu", d_in=d, d_sae=f, k=None, input_norm=input_norm),
        tensors={
            "W_enc": W_enc_FD.t(),
            "W_dec": W_dec_DF.t(),
            "b_enc": b_enc_F,
            "b_dec": weights.take("bias", (d,)),
        },
        notes={
            "scale_convention": convention,
            "activations": "scaled to [0, 1]" if convention == "folded" else "raw",
            "config": facts,
        },
        per_latent=per_latent,
    )


def _encoder(weights: Weights, shape: tuple[int, int], W_dec_DF: Tensor) -> tuple[Tensor, Tensor]:
    """Return encoder and bias; what 0/0 left of latents that never fired becomes 0."""
    W_enc_FD = weights.take("encoder.weight", shape, finite=False)
    b_enc_F = weights.take("encoder.bias", shape[:1], finite=False)
    broken_F = ~(W_enc_FD.isfinite().all(dim=1) & b_enc_F.isfinite())
    if (broken_F & (W_dec_DF != 0).any(dim=0)).any():
        raise FormatError("its encoder holds values that are not finite", where=weights.path)
    return W_enc_FD.masked_fill(broken_F[:, None], 0), b_enc_F.masked_fill(broken_F, 0)


def _convention(path: Path, W_dec_DF: Tensor, scale_F: Tensor | None) -> ScaleConvention:
    norms_F = torch.linalg.vector_norm(W_dec_DF, dim=0)
    unit_norm = bool(((norms_F - 1).abs() < 1e-2).all())
    has_scale = scale_F is not None and not torch.allclose(scale_F, torch.ones_like(scale_F))
    if has_scale and unit_norm:
        return "buffer"
    if not has_scale and not unit_norm and path.name != INTERPLM_FILES[1]:
        return "folded"
    if not has_scale and unit_norm and path.name != INTERPLM_FILES[0]:
        return "raw"
    if not has_scale and path.name == INTERPLM_FILES[1]:
        return "raw"
    raise FormatError(
        "it is not clear whether the latents' scale is in the weights",
        where=path,
        hint="give --convention folded (in the weights), buffer (kept apart) or raw (none)",
    )


FORMAT = SaeFormat(rank=10, find=find, fits=fits, read=read)
