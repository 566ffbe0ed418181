"""Scoring parts one after another in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from plmsae.core.errors import InputError
from plmsae.scoring.executor import Executor
from plmsae.scoring.folder import PartRecord
from plmsae.scoring.part_scoring import OnDone, PartScorer
from plmsae.scoring.parts import Part


def run(
    parts: Iterable[Part], scorer: PartScorer, on_done: OnDone
) -> Iterator[tuple[Part, PartRecord]]:
    """Score parts, holding one at a time.

    Parameters
    ----------
    parts : iterable of Part
        Those that are to be scored.
    on_done : callable
        For progress within a part.

    Yields
    ------
    part, record
        Each part with what came of it.
    """
    for part in parts:
        yield part, scorer(part, on_done)


def make(*, address: str | None = None, workers: int | None = None) -> Executor:
    """Return `run`.

    Raises
    ------
    InputError
        If an argument is given that only other engines use.
    """
    for flag, value in (("--address", address), ("--workers", workers)):
        if value is not None:
            raise InputError("this engine scores in one process", where=flag, value=str(value))
    return run
