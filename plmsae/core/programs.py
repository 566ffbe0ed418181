"""How a user's shell finds the programs of this environment."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path


def activation_line() -> str | None:
    """Return the line that activates this virtual environment; None where none is needed.

    ``make`` and ``mlflow run`` put the environment on their own path only, so that the shell they
    were called from finds neither ``plmsae`` nor ``mlflow``.
    """
    activate = Path(sys.prefix) / "bin" / "activate"
    if sys.prefix == sys.base_prefix or not activate.is_file() or _is_active():
        return None
    return f". {shlex.quote(_shown(activate))}"


def program(name: str) -> str:
    """Return how to call a program of this environment: by its name, or by its path."""
    path = Path(sys.prefix) / "bin" / name
    if activation_line() is None or not path.is_file():
        return name
    return shlex.quote(_shown(path))


def _is_active() -> bool:
    active = os.environ.get("VIRTUAL_ENV")
    return active is not None and Path(active).resolve() == Path(sys.prefix).resolve()


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
