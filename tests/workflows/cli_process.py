"""Command lines in processes of their own, forked from one that has imported what they need.

A fresh interpreter spends about ten seconds on PyTorch, transformers, MLflow and Great Expectations
before a command begins. These processes have their own memory, files, signals and exit codes, and
can be killed, all the same.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("great_expectations_library", "mlflow", "mlflow.store.tracking.sqlalchemy_store"),
        *("mlflow.store.model_registry.sqlalchemy_store", "polars", "scipy.sparse", "torch"),
        *("transformers.models.esm.modeling_esm", "plmsae.cli.app"),
        *(f"plmsae.workflows.{name}" for name in ("evaluate", "report", "score", "train")),
    ]
)


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
        self._process = _CONTEXT.Process(
            target=_run, args=(list(given), str(folder), str(self._out), str(self._err), prepare)
        )
        self._process.start()

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


def _run(
    given: list[str], folder: str, out: str, err: str, prepare: Callable[[], None] | None
) -> None:
    import torch

    for stream, path in ((sys.stdout, out), (sys.stderr, err)):
        with Path(path).open("a") as file:
            os.dup2(file.fileno(), stream.fileno())
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = "sqlite:///mlflow.db"
    torch.set_num_threads(1)
    from plmsae.cli.app import run

    if prepare is not None:
        prepare()
    sys.exit(run(given))
