"""A language-modelling head that was fitted here, as a file beside the weights of the body."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plmsae.core.atomic import atomic_path
from plmsae.core.errors import FormatError
from plmsae.core.fingerprint import fingerprint_file
from plmsae.plm.families import Family
from plmsae.plm.revision import HEAD


def head_parameters(body: Any, with_head: Any) -> dict[str, Any]:
    """Return the parameters that are not the body's, by name; a tied decoder is the body's."""
    ids = {id(parameter) for parameter in body.parameters()}
    return {name: p for name, p in with_head.named_parameters() if id(p) not in ids}


def has_own_head(family: Family, body: Any, folder: Path) -> bool:
    """Say whether the weights in a folder include a head like the one that would be fitted."""
    from safetensors import safe_open

    names = head_parameters(body, family.with_new_head(body)).keys()
    with safe_open(folder / "model.safetensors", framework="pt") as handle:
        return names <= set(handle.keys())


def save_head(folder: Path, state: dict[str, Tensor]) -> str:
    """Store the parameters of a head, and return the SHA-256 of the file."""
    from safetensors.torch import save_file

    with atomic_path(folder / HEAD) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
    return fingerprint_file(folder / HEAD)


def open_head(family: Family, body: Any, folder: Path) -> Any:
    """Return the library's model with `body` and the head that was stored beside its weights.

    Raises
    ------
    FormatError
        If the file does not hold the parameters of such a head.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with_head = family.with_new_head(body)
    named = head_parameters(body, with_head)
    try:
        stored = load_file(folder / HEAD)
        if {n: t.shape for n, t in stored.items()} != {n: p.shape for n, p in named.items()}:
            raise ValueError("its tensors are not those of a head of this PLM")
    except (SafetensorError, ValueError) as error:
        raise FormatError(
            "not a language-modelling head", where=folder / HEAD, hint=str(error)
        ) from error
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(stored[name])
    return with_head
