"""Checkpoints of a run in progress: ``step-000001000/{state.json, state.safetensors}``.

A new checkpoint appears under a new name, whole, before the old one is removed; a run killed at
any moment leaves at least one that opens.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from plmsae.core.atomic import atomic_folder, write_json
from plmsae.core.errors import FormatError, InputError
from plmsae.sae.config import SaeConfig, TrainConfig, differing_fields
from plmsae.sae.formats import read_config

logger = logging.getLogger(__name__)

_VERSION = 1
_NAME = re.compile(r"step-(\d+)")
# These may change between the runs without changing the result.
_FREE_FIELDS = {"checkpoint_minutes", "log_every", "device"}


class Checkpoint(NamedTuple):
    """What a checkpoint holds."""

    tensors: dict[str, Tensor]
    """Everything of `Trainer.state_tensors`."""
    scalars: dict[str, Any]
    """Everything of `Trainer.state_scalars`; ``step`` is also the number of batches consumed."""


def save_checkpoint(
    root: Path, checkpoint: Checkpoint, config: SaeConfig, train_config: TrainConfig
) -> Path:
    """Write a checkpoint and remove older ones; return its folder."""
    target = root / f"step-{checkpoint.scalars['step']:09d}"
    with atomic_folder(target) as folder:
        save_file(checkpoint.tensors, folder / "state.safetensors")
        with (folder / "state.safetensors").open("rb") as handle:
            os.fsync(handle.fileno())
        state = {
            "version": _VERSION,
            "config": asdict(config),
            "train_config": asdict(train_config),
            "scalars": checkpoint.scalars,
        }
        write_json(folder / "state.json", state)
    for path in root.iterdir():
        left_over = path.name.startswith(".step-") and path.name.endswith((".tmp", ".old"))
        if path != target and (left_over or _NAME.fullmatch(path.name)):
            shutil.rmtree(path, ignore_errors=True)
    logger.info("checkpoint after step %d in %s", checkpoint.scalars["step"], target)
    return target


def latest_checkpoint(root: Path) -> Path | None:
    """Return the folder of the checkpoint with the most steps, or None."""
    if not root.is_dir():
        return None
    found = [(int(m[1]), p) for p in root.iterdir() if (m := _NAME.fullmatch(p.name))]
    return max(found)[1] if found else None


def check_checkpoint(folder: Path, config: SaeConfig, train_config: TrainConfig) -> dict[str, Any]:
    """Return the state of a checkpoint of the same run, all but its tensors.

    Raises
    ------
    FormatError
        If it is malformed, or of another version.
    InputError
        If it was written under a configuration that gives another result.
    """
    state = read_config(folder / "state.json")
    if state.get("version") != _VERSION:
        raise FormatError("checkpoint of another version", where=folder)
    for name, ours in (("config", config), ("train_config", train_config)):
        stored = state.get(name)
        if not isinstance(stored, dict):
            raise FormatError(f"{name} is missing from the checkpoint", where=folder)
        changed = [f for f in differing_fields(ours, stored) if f not in _FREE_FIELDS]
        if changed:
            raise InputError(
                f"the checkpoint was written under another configuration: {', '.join(changed)}",
                where=folder,
                hint="resume with the same settings, or start in an empty checkpoint folder "
                "(plmsae train --start-over empties it)",
            )
    scalars = state.get("scalars")
    if not isinstance(scalars, dict) or not isinstance(scalars.get("step"), int):
        raise FormatError("the checkpoint's state is malformed", where=folder)
    return scalars


def load_checkpoint(folder: Path, config: SaeConfig, train_config: TrainConfig) -> Checkpoint:
    """Read a checkpoint of the same run; raises what `check_checkpoint` does."""
    scalars = check_checkpoint(folder, config, train_config)
    try:
        tensors = load_file(folder / "state.safetensors")
    except (SafetensorError, OSError) as error:
        raise FormatError(
            "the checkpoint's tensors do not open", where=folder, hint=str(error)
        ) from error
    return Checkpoint(tensors, scalars)
