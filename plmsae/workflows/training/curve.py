"""What a training run has measured so far, kept beside its checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plmsae.core.atomic import write_json


class Curve:
    """Measurements by step, so that a run that continues does not lose those before.

    Parameters
    ----------
    path : Path
        JSON file: a list of (step, value).
    step : int
        The step at which the run continues; what is later, a killed run had measured after its last
        checkpoint.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.points: list[tuple[int, Any]] = []
        if step and path.exists():
            self.points = [(s, v) for s, v in json.loads(path.read_text()) if s <= step]

    def add(self, step: int, value: Any) -> None:
        """Append a value (plain data) and write the file."""
        self.points.append((step, value))
        write_json(self.path, self.points)


def thinned(curve: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Keep about 20 points of a curve, the last among them."""
    rows = 20
    if len(curve) <= rows:
        return curve
    stride = len(curve) / rows
    return [curve[min(len(curve) - 1, round((i + 1) * stride) - 1)] for i in range(rows)]
