"""What a person sees while a workflow runs: progress bars on a terminal, plain lines elsewhere.

Everything here goes to standard error; standard output is for results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from plmsae.workflows.shared.progress import Progress, Silent, Task

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

EVERY_SECONDS = 30.0
"""How often a task reports its progress where there is no terminal."""


@contextmanager
def open_console(
    *, quiet: bool = False, stream: TextIO | None = None, every: float = EVERY_SECONDS
) -> Iterator[Progress]:
    """Open the listener that suits where the output goes.

    Parameters
    ----------
    stream : file, optional
        Standard error by default.
    every : float, optional
        Seconds between the lines of a task where there is no terminal.
    """
    stream = stream or sys.stderr
    if quiet:
        yield Silent()
    elif stream.isatty():
        with _rich(stream) as bars:
            yield _Bars(bars)
    else:
        yield _Lines(stream, every)


class _Lines:
    """A line when a task begins, one now and then, one when it is done."""

    def __init__(self, stream: TextIO, every: float) -> None:
        self._stream = stream
        self._every = every

    @contextmanager
    def task(self, name: str) -> Iterator[Task]:
        _line(self._stream, f"{name} …")
        task = _LineTask(name, self._stream, self._every)
        started = time.monotonic()
        yield task
        note = f" ({task.note})" if task.note else ""
        _line(self._stream, f"{name}: done in {_clock(time.monotonic() - started)}{note}")

    def say(self, message: str) -> None:
        _line(self._stream, message)


class _LineTask:
    def __init__(self, name: str, stream: TextIO, every: float) -> None:
        self.note = ""
        self._name = name
        self._stream = stream
        self._every = every
        self._next = time.monotonic() + every

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        self.note = note or self.note
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        share = f"{100 * done / total:.0f} %" if total else f"{done:,.0f}"
        _line(self._stream, f"{self._name}: {share}{f', {note}' if note else ''}")


class _Bars:
    """Bars that stay on the screen when they are full."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars

    @contextmanager
    def task(self, name: str) -> Iterator[Task]:
        # No total yet: the bar moves back and forth instead of standing at zero.
        bar = self._bars.add_task(name, total=None, note="")
        task = _BarTask(self._bars, bar)
        try:
            yield task
        except BaseException:
            self._bars.stop_task(bar)
            raise
        # What never had a total is shown as full now.
        total = task.total or max(task.done, 1.0)
        self._bars.update(bar, total=total, completed=total)

    def say(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False, soft_wrap=True)


class _BarTask:
    def __init__(self, bars: RichProgress, bar: TaskID) -> None:
        self.done = 0.0
        self.total: float | None = None
        self._bars = bars
        self._bar = bar

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        self.done = done
        self.total = total if total is not None else self.total
        fields = {"note": note} if note else {}
        self._bars.update(self._bar, completed=done, total=self.total, **fields)  # type: ignore[arg-type]


def _rich(stream: TextIO) -> RichProgress:
    from rich.console import Console as RichConsole
    from rich.progress import (
        BarColumn,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    return RichProgress(
        SpinnerColumn(finished_text="✓"),
        # Names hold file names: brackets in them are no markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False, style="dim"),
        console=RichConsole(file=stream),
        refresh_per_second=4,
        redirect_stdout=False,
        redirect_stderr=True,
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes else f"{seconds:.1f} s"


def _line(stream: TextIO, text: str) -> None:
    stream.write(f"{text}\n")
    stream.flush()
