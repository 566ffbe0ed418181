"""A folder of results, on a disk or in an object store, by the few operations that runs need.

What differs: an object appears whole or not at all once it is stored, so nothing temporary is ever
seen there; and an object store has no lock that is freed when a process dies, so none is held.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from plmsae.core.atomic import atomic_path
from plmsae.core.errors import InputError
from plmsae.core.fingerprint import fingerprint_file
from plmsae.core.object_store import clear_errors, filesystem, is_remote, open_object, split

LOCK = ".lock"
"""Name of the file by which a run holds its output folder; it stays beside results, empty."""


class Folder(Protocol):
    """A folder; names are paths inside it, with ``/``."""

    @property
    def location(self) -> str:
        """How messages name it, and how it is found again."""
        ...

    def exists(self) -> bool:
        """Return whether it is there, or anything in it."""
        ...

    def children(self, name: str = "") -> list[tuple[str, bool]]:
        """Return the names in a folder of it, sorted, each with whether it is a file."""
        ...

    def holds(self, name: str) -> bool:
        """Return whether a file is there."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """Open a file to read from any place."""
        ...

    def write(self, name: str) -> AbstractContextManager[Path]:
        """Give a path to write to; what was written appears as `name`, whole, at the end."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        ...

    def damaged(self, files: Mapping[str, str]) -> str | None:
        """Return the first of some files, given with their SHA-256, that is not whole."""
        ...

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold the folder against other runs, where that can be done."""
        ...


def folder_at(location: str | os.PathLike[str]) -> Folder:
    """Return the folder at a path, or at ``s3://BUCKET/KEY``."""
    if is_remote(location):
        return ObjectFolder(os.fspath(location).rstrip("/"))
    return LocalFolder(Path(location))


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it; return the ones that were missing, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the innermost first, up to one that holds something."""
    with suppress(OSError):
        for path in folders:
            path.rmdir()


def only_writer(folder: Path) -> AbstractContextManager[None]:
    """Hold an output folder on a disk against other runs; the folder is made if it is missing.

    A folder in which nothing was written is gone at the end.

    Raises
    ------
    InputError
        If another process holds it.
    """
    return LocalFolder(folder).lock(LOCK)


def start_over(folder: Path, *, proof: tuple[str, ...], own: re.Pattern[str]) -> None:
    """Remove what an earlier run of a command wrote into its output folder.

    Parameters
    ----------
    folder : Path
        It need not exist; call this under its lock.
    proof : tuple of str
        Files or folders in it of which one is there wherever the command has written.
    own : Pattern
        The names in it that are the command's own; whatever else is there stays.

    Raises
    ------
    InputError
        If something is there and no proof is: nothing is removed then.
    """
    there = [name for name, _ in LocalFolder(folder).children() if name != LOCK]
    if there and not any((folder / path).exists() for path in proof):
        raise InputError(
            f"--start-over removes only what plmsae wrote: {' or '.join(proof)} is not there",
            where=folder,
            value=there[0],
            hint="name an empty or a new folder",
        )
    # The proof goes last, so that what a kill leaves can be started over again.
    roots = {path.partition("/")[0] for path in proof}
    for name in sorted(filter(own.fullmatch, there), key=lambda name: name in roots):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder on a disk that this machine sees."""

    root: Path

    @property
    def location(self) -> str:
        """Its path."""
        return str(self.root)

    def exists(self) -> bool:
        """Return whether it is there; a file is not."""
        return self.root.is_dir()

    def children(self, name: str = "") -> list[tuple[str, bool]]:
        """Return the names in a folder of it, sorted, each with whether it is a file."""
        try:
            return sorted((path.name, path.is_file()) for path in (self.root / name).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def holds(self, name: str) -> bool:
        """Return whether a file is there."""
        return (self.root / name).is_file()

    def open(self, name: str) -> IO[bytes]:
        """Open a file."""
        return (self.root / name).open("rb")

    def write(self, name: str) -> AbstractContextManager[Path]:
        """Write a file atomically."""
        return atomic_path(self.root / name)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        (self.root / name).unlink(missing_ok=True)

    def damaged(self, files: Mapping[str, str]) -> str | None:
        """Return the first file that is missing or has another checksum."""
        for name, sha256 in files.items():
            path = self.root / name
            if not path.is_file() or fingerprint_file(path) != sha256:
                return name
        return None

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the folder; the system frees it when the process dies.

        What was made for it, and holds nothing else at the end, is removed.

        Raises
        ------
        InputError
            If another process holds it.
        """
        if self.root.exists() and not self.root.is_dir():
            raise InputError("is a file, not a folder", where=self.root)
        made = make_folder(self.root)
        try:
            if sys.platform == "win32":  # there nothing keeps two runs apart
                yield
                return
            with self._held(self.root / name) as handle:
                handle.truncate(0)
                handle.write(f"process {os.getpid()}\n")
                handle.flush()
                try:
                    yield
                finally:
                    handle.truncate(0)
                    if made and [child for child, _ in self.children()] == [name]:
                        (self.root / name).unlink()
        finally:
            remove_empty(made)

    @contextmanager
    def _held(self, path: Path) -> Iterator[IO[str]]:
        import fcntl

        while True:
            self.root.mkdir(parents=True, exist_ok=True)
            with path.open("a+") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    handle.seek(0)
                    raise InputError(
                        "another run is writing here",
                        where=self.root,
                        value=handle.read().strip(),
                        hint="wait until it has ended, or name another folder",
                    ) from error
                # A run that wrote nothing may have removed the file before it let go of it.
                if path.exists() and os.path.samestat(path.stat(), os.fstat(handle.fileno())):
                    yield handle
                    return


@dataclass(frozen=True, slots=True)
class ObjectFolder:
    """A prefix in a bucket of an object store."""

    location: str
    """``s3://BUCKET/PREFIX``."""

    def _path(self, name: str = "") -> str:
        _, path = split(self.location)
        return f"{path}/{name}" if name else path

    @property
    def _files(self) -> Any:
        bucket, _ = split(self.location)
        return filesystem(bucket)

    def exists(self) -> bool:
        """Return whether any object has this prefix."""
        return bool(self.children())

    def children(self, name: str = "") -> list[tuple[str, bool]]:
        """Return the names under a prefix of it, sorted, each with whether it is an object."""
        from pyarrow.fs import FileSelector

        path = self._path(name)
        with clear_errors(self.location):
            found = self._files.get_file_info(FileSelector(path, allow_not_found=True))
        return sorted((info.base_name, info.is_file) for info in found)

    def holds(self, name: str) -> bool:
        """Return whether an object is there."""
        return self.damaged({name: ""}) is None

    def open(self, name: str) -> IO[bytes]:
        """Open an object."""
        return open_object(f"{self.location}/{name}")

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """Write a file here, then store it: an object appears whole or not at all."""
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / name.rpartition("/")[2]
            yield path
            content = path.read_bytes()
            with clear_errors(self.location), self._files.open_output_stream(self._path(name)) as o:
                o.write(content)

    def remove(self, name: str) -> None:
        """Remove an object if it is there."""
        if self.holds(name):
            with clear_errors(self.location):
                self._files.delete_file(self._path(name))

    def damaged(self, files: Mapping[str, str]) -> str | None:
        """Return the first object that is missing; what is there was checked by the store."""
        with clear_errors(self.location):
            found = self._files.get_file_info([self._path(name) for name in files])
        missing = (name for name, info in zip(files, found, strict=True) if not info.is_file)
        return next(missing, None)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Do nothing: a lock that outlives its process would have to be broken by hand."""
        yield


def copy_files(folder: Folder, names: list[str], target: Path) -> None:
    """Copy files of a folder, and all files in folders of it, that are there.

    Parameters
    ----------
    folder : Folder
    names : list of str
        Files, or folders that hold files.
    target : Path
        A folder here.
    """
    for name in names:
        inside = [f"{name}/{child}" for child, is_file in folder.children(name) if is_file]
        for file in inside or ([name] if folder.holds(name) else []):
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            with folder.open(file) as source, (target / file).open("wb") as copy:
                shutil.copyfileobj(source, copy)
