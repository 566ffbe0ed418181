"""Stretches that look like motifs and are not: they are never annotated.

Each breaks what makes its model work and keeps the rest, as inactive paralogues do. The broken
place is under selection too, so that no decoy drifts into a motif.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from plmsae.proteins.simulate.segments import Planted, Segment, pattern_segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoy:
    """One kind of decoy.

    Attributes
    ----------
    name : str
    imitates : str
        The motif it looks like (`motifs.MOTIFS`).
    pattern, consensus : str
        PROSITE patterns of one shape; nothing they accept is accepted by the motif's pattern.
    """

    name: str
    imitates: str
    pattern: str
    consensus: str = ""


_ENTRIES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))

DECOYS: dict[str, Decoy] = {name: Decoy(name=name, **entry) for name, entry in _ENTRIES.items()}


def decoy_segment(decoy: Decoy, rng: np.random.Generator) -> Segment:
    """Return a decoy; it carries no label."""
    segment = pattern_segment(decoy.pattern, decoy.consensus, "loop", rng)
    segment.planted = [Planted(decoy.name, 0, len(segment) - 1, decoy.imitates)]
    return segment
