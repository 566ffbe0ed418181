"""The functional motifs that simulated families carry, as ``motifs.yaml`` declares them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from plmsae.proteins.simulate.motif import Mark, Motif


def _mark(entry: dict[str, Any]) -> Mark:
    qualifiers = tuple((name, entry.pop(name)) for name in ("note", "ligand") if name in entry)
    return Mark(**entry, qualifiers=qualifiers)


def _motif(name: str, entry: dict[str, Any]) -> Motif:
    marks = tuple(_mark(mark) for mark in entry.pop("marks"))
    entry |= {field: tuple(entry[field]) for field in ("go", "repeat") if field in entry}
    return Motif(name=name, marks=marks, **entry)


_ENTRIES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))

MOTIFS: dict[str, Motif] = {name: _motif(name, entry) for name, entry in _ENTRIES.items()}
