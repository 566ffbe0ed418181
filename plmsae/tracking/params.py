"""Settings as MLflow parameters: flat, with names that MLflow takes."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from plmsae.core.errors import printable

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
        the rest with `str`, bytes that are not UTF-8 as by `plmsae.core.errors.printable`.
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
