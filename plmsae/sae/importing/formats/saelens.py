"""SAELens: ``cfg.json`` and ``sae_weights.safetensors``, of version 6 and before.

Architectures standard (ReLU), topk, jumprelu, and the transcoders of the first and last. Row
normalisations are ours by the same names; a constant factor on the input
(``expected_average_only_in``) is folded into the weights if given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plmsae.core.errors import FormatError
from plmsae.sae.config import INPUT_NORMS, Arch, InputNorm, SaeConfig
from plmsae.sae.formats import CONFIG_NAME, WEIGHTS_NAME
from plmsae.sae.importing.common import ImportedSae, ImportOptions, SaeFormat, whole
from plmsae.sae.importing.hooks import hook_facts
from plmsae.sae.importing.opening import Weights, inside, read_sidecar

_ARCHS: dict[object, Arch] = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
}
_CONSTANT = "expected_average_only_in"


def find(folder: Path, options: ImportOptions) -> Path | None:
    """Return the weights if they are there."""
    return inside(folder, WEIGHTS_NAME) if (folder / WEIGHTS_NAME).is_file() else None


def fits(weights: Weights) -> bool:
    """Whether the four tensors are there, with a ``cfg.json`` or under SAELens's file name."""
    if not {"W_enc", "W_dec", "b_enc", "b_dec"} <= weights.names:
        return False
    return weights.path.name == WEIGHTS_NAME or (weights.path.parent / CONFIG_NAME).is_file()


def read(weights: Weights, options: ImportOptions) -> ImportedSae:
    """Read one folder."""
    path = inside(weights.path.parent, CONFIG_NAME)
    cfg = read_sidecar(path) if path.is_file() else _as_told(weights.path, options)
    d, f = weights.shape("W_enc", 2)
    for name, found in (("d_in", d), ("d_sae", f)):
        if name in cfg and whole(cfg[name], name, path) != found:
            raise FormatError(
                f"{name} is not that of the weights ({found})", where=path, value=str(cfg[name])
            )
    arch, k = _arch(cfg, options, path)
    is_transcoder = str(cfg.get("architecture")).endswith("transcoder")
    out = whole(cfg.get("d_out", d), "d_out", path) if is_transcoder else d
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (d, f),
        "W_dec": (f, out),
        "b_enc": (f,),
        "b_dec": (out,),
    }
    if arch == "jumprelu":
        shapes["threshold"] = (f,)
    tensors = {name: weights.take(name, shape) for name, shape in shapes.items()}
    if "scaling_factor" in weights.names:
        scale_F = weights.take("scaling_factor", (f,))
        if not torch.equal(scale_F, torch.ones_like(scale_F)):
            raise FormatError("a finetuned scaling_factor is not supported", where=weights.path)
    if arch == "jumprelu":
        # The ReLU comes first there: a threshold below zero does the same as zero.
        tensors["threshold"] = tensors["threshold"].clamp(min=0)
    if arch == "topk" and cfg.get("rescale_acts_by_decoder_norm"):
        _fold_decoder_norm(tensors)
    notes: dict[str, Any] = {"config": cfg, **hook_facts(cfg, path)}
    input_norm = _input_norm(cfg, path)
    if input_norm == _CONSTANT:
        if options.norm_factor is None:
            raise FormatError(
                "it was trained on activations times a constant, which it does not say",
                where=path,
                hint="give --norm-factor, the constant's inverse (1 if it is folded in already)",
            )
        _fold_factor(tensors, 1 / options.norm_factor)
        notes["norm_factor"] = options.norm_factor
        input_norm = "none"
    apply_b_dec = cfg.get("apply_b_dec_to_input", not is_transcoder)
    if not isinstance(apply_b_dec, bool):
        raise FormatError("apply_b_dec_to_input must be true or false", where=path)
    config = SaeConfig(
        arch=arch,
        d_in=d,
        d_sae=f,
        k=k,
        apply_b_dec_to_input=apply_b_dec,
        input_norm=input_norm,  # type: ignore[arg-type]
        target="layer" if is_transcoder else "input",
        d_out=out,
    )
    return ImportedSae(config=config, tensors=tensors, notes=notes)


def _as_told(path: Path, options: ImportOptions) -> dict[str, Any]:
    """Return a configuration from the command line, where there is none beside the weights."""
    arch = options.need_arch(path, CONFIG_NAME)
    stored = next((name for name, ours in _ARCHS.items() if ours == arch), None)
    if stored is None:
        raise FormatError(
            "SAELens stores no such architecture",
            where="--arch",
            value=arch,
            hint="give relu, topk or jumprelu",
        )
    return {"architecture": stored, "assumed": True}


def _arch(cfg: dict[str, Any], options: ImportOptions, path: Path) -> tuple[Arch, int | None]:
    stored = cfg.get("architecture", "standard")
    kwargs = cfg.get("activation_fn_kwargs")
    if cfg.get("signed") or (isinstance(kwargs, dict) and kwargs.get("signed")):
        raise FormatError("a TopK by absolute value (signed) is not read", where=path)
    k = cfg.get("k", kwargs.get("k") if isinstance(kwargs, dict) else None)
    activation = cfg.get("activation_fn", cfg.get("activation_fn_str", "relu"))
    if stored == "standard" and activation == "topk":
        # As versions before 6 wrote a TopK SAE.
        stored = "topk"
    elif stored == "standard" and activation != "relu":
        raise FormatError("unknown activation function", where=path, value=str(activation))
    if not isinstance(stored, str) or stored not in _ARCHS:
        raise FormatError(
            "this architecture is not read",
            where=path,
            value=str(stored),
            hint=f"one of {', '.join(map(str, _ARCHS))} is",
        )
    arch = _ARCHS[stored]
    return arch, options.need_k(path, k) if arch == "topk" else None


def _input_norm(cfg: dict[str, Any], path: Path) -> InputNorm | str:
    value = cfg.get("normalize_activations") or "none"
    if value is True:
        value = _CONSTANT
    if not isinstance(value, str) or value not in (*INPUT_NORMS, _CONSTANT):
        raise FormatError("this input normalisation is not read", where=path, value=str(value))
    if cfg.get("reshape_activations", "none") not in ("none", None):
        raise FormatError(
            "activations of attention heads are not read",
            where=path,
            value=str(cfg["reshape_activations"]),
        )
    return value


def _fold_decoder_norm(tensors: dict[str, Tensor]) -> None:
    """Treat the decoder as if its rows had norm 1: the norm goes to the pre-activations."""
    norm_F = torch.linalg.vector_norm(tensors["W_dec"], dim=1).clamp(min=1e-12)
    tensors["W_enc"] = tensors["W_enc"] * norm_F
    tensors["b_enc"] = tensors["b_enc"] * norm_F
    tensors["W_dec"] = tensors["W_dec"] / norm_F.unsqueeze(1)


def _fold_factor(tensors: dict[str, Tensor], factor: float) -> None:
    """Make an SAE of x · factor one of x; latents keep their unit."""
    tensors["W_enc"] = tensors["W_enc"] * factor
    tensors["W_dec"] = tensors["W_dec"] / factor
    tensors["b_dec"] = tensors["b_dec"] / factor


FORMAT = SaeFormat(rank=50, find=find, fits=fits, read=read)
