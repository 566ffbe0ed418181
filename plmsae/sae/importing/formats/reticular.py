"""Reticular's Matryoshka BatchTopK SAEs (``.ckpt``, the layout of dictionary_learning).

Trained on activations divided by a norm factor. The weights serve raw activations once biases and
threshold are multiplied by it; the file does not say the factor, nor whether that was done.
"""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

from plmsae.core.errors import FormatError
from plmsae.sae.config import SaeConfig
from plmsae.sae.importing.common import ImportedSae, ImportOptions, SaeFormat, without_prefix
from plmsae.sae.importing.opening import TORCH, Weights, inside

_NAMES = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold", "group_sizes")


def find(folder: Path, options: ImportOptions) -> Path | None:
    """Return the only ``.ckpt`` or ``ae.pt`` of a folder."""
    files = sorted(
        p.name
        for p in folder.iterdir()
        if p.suffix == ".ckpt" or (p.suffix in TORCH and p.stem == "ae")
    )
    if len(files) > 1:
        raise FormatError("it holds several checkpoints", where=folder, hint="give one file")
    return inside(folder, files[0]) if files else None


def fits(weights: Weights) -> bool:
    """Whether these are the names, whatever stands before them."""
    prefix = without_prefix(weights, "W_enc")
    return prefix is not None and {prefix + name for name in _NAMES} <= weights.names


def read(weights: Weights, options: ImportOptions) -> ImportedSae:
    """Read one file, its biases and threshold scaled to raw activations."""
    prefix = without_prefix(weights, "W_enc") or ""
    factor = options.norm_factor
    if factor is None:
        raise FormatError(
            "the file does not say what its training activations were divided by",
            where=weights.path,
            hint="give --norm-factor (1 if its biases are scaled already)",
        )
    d, f = weights.shape(prefix + "W_enc", 2)
    threshold = weights.number(prefix + "threshold")
    if threshold is None or threshold < 0:
        raise FormatError(
            "its threshold was never set, and without it a score depends on the rest of the batch",
            where=weights.path,
            value=str(threshold),
        )
    stored_k = weights.number(prefix + "k")
    k = options.need_k(weights.path, None if stored_k is None else int(stored_k))
    groups = weights.integers(prefix + "group_sizes")
    if sum(groups) != f or min(groups) < 1:
        raise FormatError("group_sizes must add up to d_sae", where=weights.path, value=str(groups))
    bias = weights.take(prefix + "b_enc", (f,))
    return ImportedSae(
        config=SaeConfig(arch="matryoshka", d_in=d, d_sae=f, k=k, levels=tuple(accumulate(groups))),
        tensors={
            "W_enc": weights.take(prefix + "W_enc", (d, f)),
            "W_dec": weights.take(prefix + "W_dec", (f, d)),
            "b_enc": bias * factor,
            "b_dec": weights.take(prefix + "b_dec", (d,)) * factor,
            "threshold": bias.new_full((f,), threshold * factor),
        },
        notes={"norm_factor": factor, "group_sizes": groups},
    )


FORMAT = SaeFormat(rank=30, find=find, fits=fits, read=read)
