"""Command lines in processes of their own, forked from one that has imported what they need.

A fresh interpreter spends about ten seconds on PyTorch, transformers, MLflow and Great Expectations
before a command begins. These processes have their own memory, files, signals and exit codes, and
can be killed, all the same.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("plmsae.quality.engine", "mlflow", "mlflow.store.tracking.sqlalchemy_store"),
        *("mlflow.store.model_registry.sqlalchemy_store", "polars", "scipy.sparse", "torch"),
        *("transformers.models.esm.modeling_esm", "plmsae.cli.app"),
        *(f"plmsae.workflows.{name}" for name in ("evaluate", "fill", "report", "score", "train")),
    ]
)


def start(
    given: Sequence[str],
    folder: Path,
    *,
    out: Path,
    err: Path,
    store: str = "sqlite:///mlflow.db",
    prepare: Callable[[], None] | None = None,
) -> BaseProcess:
    """Start a ``plmsae`` command.

    Parameters
    ----------
    given : sequence of str
        Command and arguments.
    folder : Path
        Its working folder.
    out, err : Path
        Files to which its standard output and standard error are added.
    store : str, optional
        MLflow's store.
    prepare : callable, optional
        Called in the process before the command; a function at the top of a module.
    """
    process = _CONTEXT.Process(
        target=_run, args=(list(given), str(folder), str(out), str(err), store, prepare)
    )
    process.start()
    return process


def _run(
    given: list[str],
    folder: str,
    out: str,
    err: str,
    store: str,
    prepare: Callable[[], None] | None,
) -> None:
    import torch

    for stream, path in ((sys.stdout, out), (sys.stderr, err)):
        with Path(path).open("a") as file:
            os.dup2(file.fileno(), stream.fileno())
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = store
    torch.set_num_threads(1)
    from plmsae.cli.app import run

    if prepare is not None:
        prepare()
    sys.exit(run(given))
