"""The machine and the software that a run was made with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path


def usable_cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def system_facts() -> dict[str, str]:
    """Return what a run was made with: cores, memory, Python, versions, the checkout's commit."""
    import psutil

    facts = {
        "sys.cores": str(usable_cores()),
        "sys.memory_gib": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "sys.platform": f"{platform.system()} {platform.machine()}",
        "sys.python": platform.python_version(),
    }
    for package in ("plmsae", "torch", "transformers", "mlflow", "polars", "numpy"):
        try:
            facts[f"version.{package}"] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # plmsae itself, when it runs from a checkout that is not installed
    from plmsae import __version__

    facts["version.plmsae"] = __version__
    commit = _git_commit(Path(__file__).resolve().parents[2])
    if commit:
        facts["git.commit"] = commit
    return facts


def _git_commit(checkout: Path) -> str | None:
    """Return the commit of a checkout, with ``-dirty`` if files were changed; None without git."""
    if not (checkout / ".git").exists():
        return None  # Installed: the repository above site-packages, if any, is someone else's.
    command = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        # A fixed command; the folder is our own.
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
