"""What all outcomes of commands have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command returns; its fields are what ``--json`` prints."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data: paths as text, ``model_uri`` as ``model``."""
        return {
            "model" if field.name == "model_uri" else field.name: _plain(getattr(self, field.name))
            for field in dataclasses.fields(self)
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "to_json"):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value
