"""Engines: what has the parts of a run scored, here or on many machines.

Each module of ``executors/`` is one and declares ``make``; the name of the module is what
``--engine`` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from plmsae.core.plugins import Plugins
from plmsae.scoring.folder import PartRecord
from plmsae.scoring.part_scoring import OnDone, PartScorer
from plmsae.scoring.parts import Part


class Executor(Protocol):
    """A function that has parts scored; `executors.local.run` is one."""

    def __call__(
        self, parts: Iterable[Part], scorer: PartScorer, on_done: OnDone, /
    ) -> Iterator[tuple[Part, PartRecord]]:
        """Yield each part with its record, in any order."""
        ...


def open_executor(
    engine: str, *, address: str | None = None, workers: int | None = None
) -> Executor:
    """Return the executor of an engine.

    Raises
    ------
    InputError
        If the engine is not installed, or does not take these arguments.
    """
    makers: Plugins[Callable[..., Executor]] = Plugins("plmsae.scoring.executors", "make")
    return makers[engine](address=address, workers=workers)
