"""Command lines in processes of their own that tests watch, signal and kill."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import forked


class CliProcess:
    """A running ``plmsae`` command.

    Parameters
    ----------
    given : sequence of str
        Command and arguments.
    folder : Path
        Its working folder; MLflow's store is ``mlflow.db`` there.
    prepare : callable, optional
        Called in the process before the command; a function at the top of a module.
    """

    def __init__(
        self, given: Sequence[str], folder: Path, prepare: Callable[[], None] | None = None
    ) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        self._out, self._err = (Path(self._scratch.name) / name for name in ("out", "err"))
        self._err.touch()
        self._process = forked.start(given, folder, out=self._out, err=self._err, prepare=prepare)

    def said(self) -> str:
        """Return what it has written to standard error so far."""
        return self._err.read_text()

    def is_running(self) -> bool:
        """Tell whether it has not ended."""
        return self._process.exitcode is None

    def wait_for(self, words: str, *, seconds: float = 120) -> None:
        """Return as soon as it has said `words`."""
        until = time.monotonic() + seconds
        while words not in self.said():
            assert self.is_running(), self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.005)

    def send(self, number: int) -> None:
        """Send it a signal."""
        if self._process.pid is not None:
            os.kill(self._process.pid, number)

    def wait(self, seconds: float = 300) -> int | None:
        """Return its exit code; None if it still runs after so many seconds."""
        self._process.join(seconds)
        return self._process.exitcode

    def finish(self) -> str:
        """Wait until it has ended well; return what it wrote to standard output."""
        assert self.wait() == 0, self.said()
        return self._out.read_text()


def halting(method: Callable[..., Any], call: int, word: str = "") -> Callable[..., Any]:
    """Return a method that says `waiting` in its 0-based call `call`, and stays there.

    With a `word`, every other call says it, with its number from 1.
    """
    n_calls = 0

    def counted(self: Any, *given: Any) -> Any:
        nonlocal n_calls
        if n_calls == call:
            sys.stderr.write("waiting\n")
            sys.stderr.flush()
            time.sleep(600)
        n_calls += 1
        if word:
            sys.stderr.write(f"{word} {n_calls}\n")
            sys.stderr.flush()
        return method(self, *given)

    return counted
