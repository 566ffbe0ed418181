"""Progress messages of workflows, independent of how they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    """One thing that is being done."""

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far it has come.

        Parameters
        ----------
        done, total : float
            In whatever unit the task counts; `total` None while it is not known.
        note : str
            A few words beside the bar: a rate, a loss.
        """
        ...


class Progress(Protocol):
    """Who listens: the CLI's progress bars, or nobody."""

    @contextmanager
    def task(self, name: str) -> Iterator[Task]:
        """Open a task for the length of a ``with`` block."""
        ...

    def say(self, message: str) -> None:
        """Tell one line that stays."""
        ...


@contextmanager
def step(progress: Progress, name: str) -> Iterator[None]:
    """Open a task of which only the end can be told."""
    with progress.task(name) as task:
        yield
        task.update(1, 1)


class _SilentTask:
    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        pass


class Silent:
    """Nobody listens."""

    @contextmanager
    def task(self, name: str) -> Iterator[Task]:
        """Open a task that shows nothing."""
        yield _SilentTask()

    def say(self, message: str) -> None:
        """Say nothing."""
