"""Writing so that a reader, or a killed process, never sees half a file."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.core.errors import (
    MAKE_ROOM,
    NO_SPACE,
    PlmsaeError,
    ResourceError,
    is_disk_full,
    printable,
)

if TYPE_CHECKING:
    import polars as pl


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it onto `target` if the block succeeds.

    Parameters
    ----------
    target : Path
        The final path of a file; its folder is created if it is missing.

    Yields
    ------
    Path
        A path with the same suffix in the same folder, not yet there; removed if the block fails.
    """
    target = Path(target)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    with _room_for(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; put it in the place of `target` if the block succeeds.

    An existing `target` is moved aside first and deleted last, so that at every moment a complete
    folder, old or new, is on the disk. What processes that were killed meanwhile left is deleted
    with it.
    """
    target = Path(target)
    with _room_for(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not `tempfile.mkdtemp`: what it makes nobody else may read, and so it would stay.
        unique = f"{os.getpid()}-{secrets.token_hex(4)}"  # no name of `atomic_path`
        temporary = target.with_name(f".{target.name}.{unique}.tmp")
        temporary.mkdir()
        try:
            yield temporary
            old = temporary.with_suffix(".old")
            if target.exists():
                target.rename(old)
            temporary.rename(target)
            shutil.rmtree(old, ignore_errors=True)
            names = rf"\.{re.escape(target.name)}\.(\d+)-[0-9a-f]{{8}}\.(tmp|old)"
            for path in _left_over(target.parent, names):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _room_for(target: Path) -> Iterator[None]:
    """Turn what says that the disk is full into one line that names the disk by `target`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, PlmsaeError) or not is_disk_full(error):
            raise
        raise ResourceError(NO_SPACE, where=target.parent, hint=MAKE_ROOM) from error


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files of `atomic_path` that killed processes left in a folder."""
    for path in _left_over(folder, r"\..+\.(\d+)\.tmp(?:\.\w+)?"):
        path.unlink(missing_ok=True)


def _left_over(folder: Path, names: str) -> Iterator[Path]:
    """Yield what has such a name, whose first group is the id of a process that has ended."""
    for path in folder.glob(".*"):
        found = re.fullmatch(names, path.name)
        if found and not _is_running(int(found[1])):
            yield path


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_text(target: Path, text: str) -> None:
    """Write `text` (UTF-8, see `plmsae.core.errors.printable`) to `target` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(printable(text), encoding="utf-8")


def write_parquet(target: Path, frame: pl.DataFrame) -> None:
    """Write a polars frame to `target` as Parquet, atomically."""
    with atomic_path(target) as temporary:
        frame.write_parquet(temporary)


def json_text(value: Any) -> str:
    """Return `value` as indented JSON with sorted keys."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys to `target` atomically."""
    write_text(target, json_text(value))
