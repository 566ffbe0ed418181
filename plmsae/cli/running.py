"""Around every command: what it may print, where its errors go, what it exits with."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.core.errors import MAKE_ROOM, NO_SPACE, PlmsaeError, is_disk_full, is_out_of_memory
from plmsae.core.stopping import Terminated

if TYPE_CHECKING:
    from plmsae.workflows.shared.progress import Progress

EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141
EXIT_TERMINATED = 143
NOTHING_KEPT = "nothing was kept"


@dataclass(frozen=True, kw_only=True)
class Common:
    """The options that every command has."""

    quiet: bool = False
    """Results and errors only."""
    debug: bool = False
    """Tracebacks and debug messages."""
    as_json: bool = False
    """Results as JSON."""
    tracking_uri: str | None = None
    """MLflow store, for this process and those it starts."""


def fail(message: object, *, kind: str = "error") -> None:
    """Print one line on standard error."""
    print(f"plmsae: {kind}: {' '.join(str(message).split())}", file=sys.stderr)  # noqa: T201


def guarded(common: Common, command: Callable[[], None]) -> int:
    """Run a command and return its exit code; whatever goes wrong becomes one line.

    Parameters
    ----------
    common : Common
        `debug` adds the traceback.
    command : callable
        Takes nothing; what it returns is ignored.
    """
    if common.tracking_uri:
        os.environ["MLFLOW_TRACKING_URI"] = common.tracking_uri
    try:
        command()
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        _trace(common)
        fail(str(error) or NOTHING_KEPT, kind="stopped")
        return EXIT_INTERRUPTED
    except Terminated as error:
        _trace(common)
        fail(str(error) or NOTHING_KEPT, kind="stopped")
        return EXIT_TERMINATED
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not flush into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except PlmsaeError as error:
        _trace(common)
        fail(error)
        return error.exit_code
    except OSError as error:
        _trace(common)
        if error.strerror is None or is_disk_full(error):
            return _bug(error)
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror}")
        return EXIT_USAGE
    except Exception as error:  # noqa: BLE001 (the last line of defence)
        _trace(common)
        return _bug(error)
    return 0


def _trace(common: Common) -> None:
    if common.debug:
        traceback.print_exc()


def _bug(error: Exception) -> int:
    if is_out_of_memory(error):
        fail("out of memory; try fewer proteins, a smaller model or --device cpu")
        return EXIT_BUG
    if is_disk_full(error):
        fail(f"{NO_SPACE}; {MAKE_ROOM}")
        return EXIT_USAGE
    detail = " ".join(str(error).split())
    short = detail if len(detail) <= 300 else detail[:297] + "..."
    text = f"{type(error).__name__}: {short}" if short else type(error).__name__
    fail(f"{text}; run again with --debug for the traceback", kind="bug")
    return EXIT_BUG


@contextmanager
def listening(common: Common) -> Iterator[Progress]:
    """Open the console that workflows report to, with log messages going the same way."""
    from plmsae.cli.console import open_console

    with open_console(quiet=common.quiet) as console:
        handler = _Messages(_to_stderr if common.quiet else console.say)
        package = logging.getLogger("plmsae")
        level = logging.ERROR if common.quiet else logging.WARNING
        package.setLevel(logging.DEBUG if common.debug else level)
        package.addHandler(handler)
        # Messages of other libraries help to find a bug, and are shown only with --debug.
        root = logging.getLogger()
        others = root.level
        root.setLevel(logging.WARNING if common.debug else logging.ERROR)
        logging.captureWarnings(True)
        try:
            yield console
        finally:
            logging.captureWarnings(False)
            root.setLevel(others)
            package.removeHandler(handler)


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)  # noqa: T201


class _Messages(logging.Handler):
    """Log records, one line each, above the progress bars."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._say(f"plmsae: {record.levelname.lower()}: {self.format(record)}")


def print_outcome(outcome: Any, common: Common) -> None:
    """Print what a workflow returned: its lines, or JSON.

    Parameters
    ----------
    outcome : object
        Something with ``lines()`` and ``to_json()``, a Path, or a list of such.
    common : Common
        `as_json` chooses.
    """
    if common.as_json:
        print(json.dumps(_plain(outcome), ensure_ascii=False, indent=2))  # noqa: T201
        return
    for part in outcome if isinstance(outcome, Sequence) else [outcome]:
        for line in [str(part)] if isinstance(part, Path) else part.lines():
            print(line)  # noqa: T201


def _plain(outcome: Any) -> Any:
    if isinstance(outcome, Path):
        return {"out": str(outcome)}
    if isinstance(outcome, Sequence):
        return [_plain(part) for part in outcome]
    return outcome.to_json()
