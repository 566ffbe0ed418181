"""Data of the site as scripts that register it, since a page opened from a file may not fetch.

A chunk is JSON, compressed and written in base64. No byte of what others wrote can therefore end a
string, a script or an element, wherever the chunk is put.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from typing import Any


def pack(value: Any) -> str:
    """Return `value` as base64 of gzipped JSON; NaN and infinities become null."""
    text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # No time stamp, so that equal data give equal bytes. Half of a surrogate pair becomes "?".
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)).decode()


def chunk_script(key: str, packed: str) -> str:
    """Return the script that registers a packed chunk under `key`."""
    return f"atlas({json.dumps(key)},{json.dumps(packed)});\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value
