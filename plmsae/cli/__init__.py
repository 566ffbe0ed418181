"""The command line: arguments in, calls out; no logic.

Importing this package must stay cheap: ``plmsae --help`` answers in a fraction of a second because
every workflow is imported only when its command runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; by default those of the process.
    """
    from plmsae.cli.app import run

    raise SystemExit(run(arguments))
