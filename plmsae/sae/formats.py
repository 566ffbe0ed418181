"""The folder an SAE is stored in: ``cfg.json`` and ``sae_weights.safetensors``, as SAELens has it.

BatchTopK has no inference class of its own there and is written as ``jumprelu`` with one threshold
a latent; what it was is kept under ``metadata.plmsae``. Nothing here unpickles or runs anything.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from plmsae.core.atomic import atomic_path, write_json
from plmsae.core.errors import InputError, NotFoundError, UnsafeArtifactError
from plmsae.core.foreign_files import kind_of
from plmsae.core.json_files import read_json
from plmsae.sae.architecture import ARCHITECTURES
from plmsae.sae.config import INPUT_NORMS, SaeConfig

CONFIG_NAME = "cfg.json"
WEIGHTS_NAME = "sae_weights.safetensors"

_MAX_CONFIG_BYTES = 1 << 20
_MAX_WIDTH = 1 << 24
_FLOATS = ("F64", "F32", "F16", "BF16")
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


def write_sae(folder: Path, config: SaeConfig, tensors: dict[str, Tensor]) -> None:
    """Write an SAE folder; each file appears whole or not at all, the configuration last."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg: dict[str, Any] = {
        "architecture": _stored_name(config.arch, config.is_transcoder),
        "d_in": config.d_in,
        "d_sae": config.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": config.apply_b_dec_to_input,
        "normalize_activations": config.input_norm,
        "reshape_activations": "none",
        "metadata": {
            "plmsae": {
                "arch": config.arch,
                "k": config.k,
                "target": config.target,
                "levels": list(config.levels),
            }
        },
    }
    if config.is_transcoder:
        cfg["d_out"] = config.d_target
    if ARCHITECTURES[config.arch].saelens_name == "topk":
        cfg["k"] = config.k
        cfg["rescale_acts_by_decoder_norm"] = False
    (folder / CONFIG_NAME).unlink(missing_ok=True)
    write_tensors(folder / WEIGHTS_NAME, tensors)
    write_json(folder / CONFIG_NAME, cfg)


def read_sae(folder: Path) -> tuple[SaeConfig, dict[str, Tensor]]:
    """Read and check an SAE folder.

    Returns
    -------
    config : SaeConfig
        What the SAE is.
    tensors : dict
        ``W_enc`` (d_in, d_sae), ``W_dec`` (d_sae, d_target), ``b_enc``, ``b_dec``, and
        ``threshold`` (d_sae,) where the architecture has one; float32, finite.
    """
    if not folder.is_dir():
        raise NotFoundError("no such SAE folder", where=folder)
    config = _config_from(read_config(folder / CONFIG_NAME), folder / CONFIG_NAME)
    weights = folder / WEIGHTS_NAME
    if not weights.is_file():
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES)
        if pickles:
            raise UnsafeArtifactError(
                f"the weights are a pickle ({pickles[0]}), which can run code when opened",
                where=folder,
                hint="store them as safetensors",
            )
        raise InputError(f"{WEIGHTS_NAME} is missing", where=folder)
    d, f, out = config.d_in, config.d_sae, config.d_target
    shapes = {"W_enc": (d, f), "W_dec": (f, out), "b_enc": (f,), "b_dec": (out,)}
    shapes |= dict.fromkeys(ARCHITECTURES[config.arch].sae.extra_names, (f,))
    tensors = read_tensors(weights, shapes)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{name} holds values that are not finite", where=weights)
    if "threshold" in tensors:
        _check_threshold(config, tensors["threshold"], weights)
    return config, tensors


def is_ours(folder: Path) -> bool:
    """Whether plmsae itself wrote the SAE in a folder."""
    path = folder / CONFIG_NAME
    metadata = read_config(path).get("metadata") if path.is_file() else None
    return isinstance(metadata, dict) and isinstance(metadata.get("plmsae"), dict)


def read_config(path: Path) -> dict[str, Any]:
    """Read a small JSON object."""
    return read_json(path, max_bytes=_MAX_CONFIG_BYTES)


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors, atomically."""
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())


def read_tensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Read the named floating-point tensors as float32, checking shapes before reading any."""
    try:
        with safe_open(path, framework="pt") as handle:
            names = set(handle.keys())
            for name, shape in shapes.items():
                if name not in names:
                    raise InputError(f"tensor {name} is missing", where=path)
                header = handle.get_slice(name)
                if tuple(header.get_shape()) != shape:
                    raise InputError(
                        f"tensor {name} must have shape {shape}",
                        where=path,
                        value=str(tuple(header.get_shape())),
                    )
                if header.get_dtype() not in _FLOATS:
                    raise InputError(
                        f"tensor {name} must be floating point",
                        where=path,
                        value=str(header.get_dtype()),
                    )
            return {name: handle.get_tensor(name).float() for name in shapes}
    except (SafetensorError, OSError) as error:
        with path.open("rb") as handle:
            kind = kind_of(handle.read(512))
        if kind is not None:
            raise InputError(f"this is {kind.name}", where=path, hint=kind.hint) from None
        raise InputError("not a safetensors file", where=path, hint=str(error)) from error


def _config_from(cfg: dict[str, Any], path: Path) -> SaeConfig:
    ours = cfg.get("metadata", {})
    ours = ours.get("plmsae", {}) if isinstance(ours, dict) else {}
    ours = ours if isinstance(ours, dict) else {}
    stored = cfg.get("architecture")
    is_transcoder = str(stored).endswith("transcoder")
    arch = str(ours.get("arch", _arch_of(stored)))
    if arch not in ARCHITECTURES or _stored_name(arch, is_transcoder) != stored:
        raise InputError(
            "unknown or contradictory architecture", where=path, value=f"{stored}, {arch}"
        )
    input_norm = cfg.get("normalize_activations", "none")
    if input_norm not in INPUT_NORMS:
        raise InputError(
            "this input normalisation is not supported in this format",
            where=path,
            value=str(input_norm),
            hint="fold it into the weights before saving",
        )
    if cfg.get("rescale_acts_by_decoder_norm"):
        raise InputError(
            "rescale_acts_by_decoder_norm is not supported", where=path, hint="fold it first"
        )
    target = ours.get("target", "layer" if is_transcoder else "input")
    if (target != "input") != is_transcoder:
        raise InputError("target contradicts the architecture", where=path, value=str(target))
    levels = ours.get("levels", [])
    if not isinstance(levels, list) or not all(type(level) is int for level in levels):
        raise InputError("levels must be a list of whole numbers", where=path)
    apply_b_dec = cfg.get("apply_b_dec_to_input", not is_transcoder)
    if not isinstance(apply_b_dec, bool):
        raise InputError("apply_b_dec_to_input must be true or false", where=path)
    for name in ("d_in", "d_sae", "d_out") if "d_out" in cfg else ("d_in", "d_sae"):
        if not isinstance(cfg.get(name), int) or not 0 < cfg[name] <= _MAX_WIDTH:
            raise InputError(
                f"{name} must be a positive whole number", where=path, value=str(cfg.get(name))
            )
    try:
        return SaeConfig(
            arch=arch,
            d_in=cfg["d_in"],
            d_sae=cfg["d_sae"],
            k=cfg.get("k", ours.get("k")),
            apply_b_dec_to_input=apply_b_dec,
            input_norm=input_norm,
            target=target,
            d_out=cfg.get("d_out") if is_transcoder else None,
            levels=tuple(levels),
        )
    except InputError as error:
        raise InputError(error.what, where=path, value=error.value, hint=error.hint) from error


def _stored_name(arch: str, is_transcoder: bool) -> str:
    name = ARCHITECTURES[arch].saelens_name
    if not is_transcoder:
        return name
    # SAELens has no class for the transcoder of TopK, whose name follows its others.
    return "transcoder" if name == "standard" else f"{name}_transcoder"


def _arch_of(stored: object) -> str:
    """Return the architecture that computes what SAELens calls `stored`."""
    for name, architecture in ARCHITECTURES.items():
        if architecture.is_saelens_class and stored in (
            _stored_name(name, is_transcoder=False),
            _stored_name(name, is_transcoder=True),
        ):
            return name
    return ""


def _check_threshold(config: SaeConfig, threshold_F: Tensor, path: Path) -> None:
    low = float(threshold_F.min())
    if low < 0 or not math.isfinite(low):
        raise InputError("threshold must not be negative", where=path, value=str(low))
    if ARCHITECTURES[config.arch].one_threshold and float(threshold_F.max()) != low:
        raise InputError(f"the thresholds of a {config.arch} SAE must all be equal", where=path)
