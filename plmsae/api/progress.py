"""Progress bars of workflows that are called from Python: widgets in a notebook, text elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from plmsae.workflows.shared.progress import Progress, Silent, Task


def listener(progress: bool) -> Progress:
    """Return what a workflow reports to: bars, or nothing."""
    return _Bars() if progress else Silent()


class _Bars:
    """One bar per task."""

    @contextmanager
    def task(self, name: str) -> Iterator[Task]:
        from tqdm.auto import tqdm

        with tqdm(desc=name, unit="") as bar:
            yield _Bar(bar)

    def say(self, message: str) -> None:
        from tqdm.auto import tqdm

        tqdm.write(message)


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        if total is not None:
            self._bar.total = total
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)
