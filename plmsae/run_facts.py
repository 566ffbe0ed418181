"""What a run says of itself: its settings as flat parameters, and the machine it ran on."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plmsae.errors import printable

_BAD_NAME = re.compile(r"[^A-Za-z0-9_./ :-]")


def clean_name(name: str) -> str:
    """Return a name that MLflow takes for a parameter or a metric; it may group with ``/``."""
    parts = _BAD_NAME.sub("_", name)[:250].split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "value"


def flatten_params(config: Any, *, prefix: str = "") -> dict[str, str]:
    """Return a dataclass, mapping or value as MLflow parameters.

    Parameters
    ----------
    config : dataclass, mapping or value
        Dataclasses and mappings nest with a dot (``sae.k``); lists are written as JSON, paths and
        the rest with `str`, bytes that are not UTF-8 as by `plmsae.errors.printable`.
    prefix : str, optional
        Put before every name.

    Returns
    -------
    dict of str to str
        Full values: `Run.log_params` cuts them at `MAX_PARAM` characters.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = {entry.name: getattr(config, entry.name) for entry in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        flat: dict[str, str] = {}
        for key, value in config.items():
            name = f"{prefix}.{key}" if prefix else str(key)
            flat.update(flatten_params(value, prefix=name))
        return flat
    name = clean_name(prefix)
    if isinstance(config, list | tuple | set | frozenset):
        items = sorted(config, key=str) if isinstance(config, set | frozenset) else config
        return {name: printable(json.dumps(list(items), default=str, ensure_ascii=False))}
    return {name: printable(str(config))}


def system_facts() -> dict[str, str]:
    """Return what a run was made with: cores, memory, Python, versions, the checkout's commit."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {
        "sys.cores": str(cores),
        "sys.memory_gib": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "sys.platform": f"{platform.system()} {platform.machine()}",
        "sys.python": platform.python_version(),
    }
    for package in ("plmsae", "torch", "transformers", "mlflow", "polars", "numpy"):
        try:
            facts[f"version.{package}"] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # plmsae itself, when it runs from a checkout that is not installed
    from plmsae import __version__

    facts["version.plmsae"] = __version__
    commit = _git_commit(Path(__file__).resolve().parents[1])
    if commit:
        facts["git.commit"] = commit
    return facts


def _git_commit(checkout: Path) -> str | None:
    """Return the commit of a checkout, with ``-dirty`` if files were changed; None without git."""
    if not (checkout / ".git").exists():
        return None  # Installed: the repository above site-packages, if any, is someone else's.
    command = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        # A fixed command; the folder is our own.
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
