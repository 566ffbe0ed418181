"""The errors users see: what is wrong, where, and what to do about it.

Every class maps to one exit code (``exit_code``); the CLI prints ``str(error)`` on one line.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any


def printable(text: str) -> str:
    r"""Return `text` as any output can hold it; bytes that are not UTF-8 become ``\xe9``.

    Python keeps such bytes as lone surrogates, which neither JSON nor MLflow nor Parquet takes.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        try:
            raw = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # a surrogate that stands for no byte
            raw = text.encode("utf-8", "backslashreplace")
        return raw.decode("utf-8", "backslashreplace")
    return text


class PlmsaeError(Exception):
    """Base of all errors that plmsae raises on purpose.

    Attributes
    ----------
    exit_code : int
        What the process exits with when the error reaches the CLI.
    outcome : object or None
        What a workflow had finished before it stopped, if that is worth telling.
    """

    exit_code = 1
    outcome: object | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by message and attributes, so that an error reaches another process whole."""
        return _rebuilt, (type(self), self.args, dict(vars(self)))


def _rebuilt(kind: type[PlmsaeError], args: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    # The constructors take other arguments than those that the message is made of.
    error = BaseException.__new__(kind, *args)
    error.args = args
    vars(error).update(attributes)
    return error


class InputError(PlmsaeError):
    """The user's input or arguments are wrong.

    Parameters
    ----------
    what : str
        What is wrong, without a full stop.
    where : str or Path, optional
        The file, or the argument, at fault.
    record : str, optional
        The record inside it (an accession, or ``record 3``).
    line : int, optional
        The 1-based line inside it.
    value : str, optional
        The value that was found; cut to 60 characters in the message.
    hint : str, optional
        What to do about it.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        record: str | None = None,
        line: int | None = None,
        value: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.record = record
        self.line = line
        self.value = value
        self.hint = hint
        super().__init__(self._message())

    def _message(self) -> str:
        place = [self.where] if self.where else []
        if self.record:
            place.append(self.record)
        if self.line is not None:
            place.append(f"line {self.line}")
        message = f"{', '.join(place)}: {self.what}" if place else self.what
        if self.value is not None:
            shown = self.value if len(self.value) <= 60 else self.value[:57] + "..."
            message += f" (found {shown!r})"
        if self.hint:
            message += f"; {self.hint}"
        return printable(message.replace("\n", " "))


class NotFoundError(InputError, LookupError):
    """A file, model, PLM, recipe or latent that was named does not exist."""


class FormatError(InputError, ValueError):
    """A file is damaged or is not in the format it should be in."""


class UnsafeArtifactError(InputError):
    """A checkpoint or model carries what plmsae will not open: pickle, code, a path outside."""


class TooFewClustersError(InputError):
    """There are fewer homology clusters than the parts to be made of them need."""


class TrainingDivergedError(InputError, ArithmeticError):
    """Training came to values that are not finite or explain nothing; settings must change."""


class ResourceError(InputError, MemoryError):
    """Memory or disk space is not enough even for the smallest piece of work."""


class UnavailableError(InputError):
    """A service that is needed, such as a hub or a package index, cannot be reached.

    It is no `ConnectionError`: that is an `OSError`, which readers of files catch as their own.
    """


class QualityError(PlmsaeError):
    """A critical data-quality expectation failed.

    Parameters
    ----------
    expected, found : str
        What was expected and what was found instead.
    report : str or Path, optional
        Where the full report lies.
    """

    exit_code = 3

    def __init__(self, expected: str, found: str, *, report: str | Path | None = None) -> None:
        self.expected = expected
        self.found = found
        self.report = None if report is None else str(report)
        tail = f"; report: {self.report}" if self.report else ""
        super().__init__(f"quality gate failed: expected {expected}, found {found}{tail}")


# Torch's CPU allocator and cuBLAS raise plain RuntimeErrors that only say so.
NO_SPACE = "no space is left on the disk"
MAKE_ROOM = "make room, then run the same command to continue"
_NO_SPACE = ("No space left on device", "database or disk is full", "Disk quota exceeded")
_NO_MEMORY = ("allocate memory", "ALLOC_FAILED")


def is_disk_full(error: BaseException) -> bool:
    """Return whether `error`, whoever raised it, says that a disk has no room.

    Libraries written in Rust, and MLflow's database, say so only in words.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error) for words in _NO_SPACE)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error`, whoever raised it, says that memory ran out.

    Torch's own class for it is told by its name, so that torch need not be imported.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
