"""Reading JSON that others may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plmsae.core.errors import FormatError, NotFoundError, UnsafeArtifactError


def read_json(
    path: Path, *, max_bytes: int | None = None, allow_nan: bool = True
) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    max_bytes : int, optional
        Refuse a larger file before it is read.
    allow_nan : bool
        Accept NaN and Infinity, which are not JSON but which Python writes.

    Raises
    ------
    NotFoundError
        If the file is missing.
    FormatError
        If it is not one JSON object.
    UnsafeArtifactError
        If it is larger than `max_bytes`.
    """
    if not path.is_file():
        raise NotFoundError(f"{path.name} is missing", where=path.parent)
    if max_bytes is not None and path.stat().st_size > max_bytes:
        raise UnsafeArtifactError("too large for a configuration", where=path)
    refuse = None if allow_nan else _refuse_constant
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not valid JSON: {error}", where=path) from error
    if not isinstance(value, dict):
        raise FormatError("not a JSON object", where=path)
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
