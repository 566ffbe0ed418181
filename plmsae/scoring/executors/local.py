"""Scoring parts one after another in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from plmsae.scoring.folder import PartRecord
from plmsae.scoring.part_scoring import OnChunk, PartScorer
from plmsae.scoring.parts import Part


def run(
    parts: Iterable[Part], scorer: PartScorer, on_chunk: OnChunk
) -> Iterator[tuple[Part, PartRecord]]:
    """Score parts, holding one at a time.

    Parameters
    ----------
    parts : iterable of Part
        Those that are to be scored.
    scorer : PartScorer
        Scores one.
    on_chunk : callable
        For progress within a part.

    Yields
    ------
    part, record
        Each part with what came of it.
    """
    for part in parts:
        yield part, scorer(part, on_chunk)
