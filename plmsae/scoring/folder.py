"""The score folder on disk: where files lie, which parts are done, who may write."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from plmsae.core.atomic import write_json
from plmsae.core.errors import InputError, NotFoundError, printable
from plmsae.core.fingerprint import fingerprint_file
from plmsae.scoring.manifest import Manifest, RunIdentity
from plmsae.scoring.schema import TABLES

if TYPE_CHECKING:
    import polars as pl

_log = logging.getLogger(__name__)

_PARTS = "parts"
_RUN = "run.json"
_MANIFEST = "manifest.json"
_TIMING = "timing.json"
_LOCK = ".lock"
_OURS = frozenset({*TABLES, _PARTS, _MANIFEST, _TIMING, _LOCK})
_TEMPORARY = re.compile(r"^\..+\.\d+\.tmp\.\w+$")  # as atomic_path names them
_WITHIN = re.compile(r"^(part-\d{5,}(\.latents-\d{5,}-\d{5,})?\.parquet|\d{5,}\.json|run\.json)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecord:
    """The marker of a finished part: ``parts/00000.json``, written after all its files."""

    index: int
    """0-based place in the input."""
    input_sha256: str
    """Fingerprint of the records that went in."""
    n_read: int
    """Records that went in."""
    n_scored: int
    """Rows in ``proteins/``."""
    n_rejected: int
    """Rows in ``rejected/``."""
    n_residues: int
    """Residues scored."""
    n_annotations: int
    """Rows in ``annotations/``."""
    n_implied: int
    """Classes that these rows imply."""
    n_features: int | None
    """Rows in ``features/``; None where it is not written."""
    files: Mapping[str, str]
    """Path inside the folder to SHA-256."""


@dataclass(frozen=True, slots=True)
class ScoreFolder:
    """Paths and state of one output folder.

    Parameters
    ----------
    root : Path
        The folder; it need not exist yet.
    """

    root: Path

    @property
    def manifest_path(self) -> Path:
        """Path of ``manifest.json``; it exists only when the run is complete."""
        return self.root / _MANIFEST

    @property
    def timing_path(self) -> Path:
        """Path of ``timing.json``, the one file that differs between equal runs."""
        return self.root / _TIMING

    def table(self, name: str, index: int) -> Path:
        """Return the path of part `index` of table `name`."""
        return self.root / name / f"part-{index:05d}.parquet"

    def marker(self, index: int) -> Path:
        """Return the path of the done-marker of part `index`."""
        return self.root / _PARTS / f"{index:05d}.json"

    # Reading a complete folder.

    def manifest(self) -> Manifest:
        """Read the manifest.

        Raises
        ------
        InputError
            If the folder does not exist or the run in it is not complete.
        """
        if not self.root.is_dir():
            raise NotFoundError("no such score folder", where=self.root)
        if not self.manifest_path.exists():
            if (self.root / _PARTS).is_dir():
                what, hint = "the score run here is not complete", "run the same score again"
            else:
                what, hint = "not a score folder: it has no manifest.json", None
            raise InputError(what, where=self.root, hint=hint)
        return Manifest.read(self.manifest_path)

    @property
    def where(self) -> str:
        """How errors name the folder."""
        return str(self.root)

    def names(self, name: str) -> list[str]:
        """Return the names of the files of table `name`, sorted."""
        if not (self.root / name).is_dir():
            return []
        return sorted(path.name for path in (self.root / name).iterdir())

    def open(self, path: str) -> IO[bytes]:
        """Open a file, named by its path inside the folder, to read from any place."""
        return (self.root / path).open("rb")

    def read(self, name: str, index: int) -> pl.DataFrame:
        """Return part `index` of table `name`."""
        import polars as pl

        path = self.table(name, index)
        try:
            return pl.read_parquet(path, glob=False)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise InputError(
                f"cannot be read: {error}", where=path, hint="run the same score again"
            ) from error

    # Writing.

    def check(self) -> None:
        """Raise `InputError` if this is a file, or a folder that holds something else."""
        if printable(str(self.root)) != str(self.root):
            raise InputError(
                "the name of an output folder must be UTF-8", where=self.root, hint="name another"
            )
        if self.root.exists() and not self.root.is_dir():
            raise InputError("is a file, not a folder", where=self.root)
        if self.root.exists():
            self._refuse_strangers()

    def begin(self, identity: RunIdentity, *, resume: bool) -> None:
        """Make the folder ready for a run; call it under the lock.

        Raises
        ------
        InputError
            If the folder holds something else, or a run with another identity.
        """
        self._refuse_strangers()
        self._sweep()
        if not resume:
            self.clear()
        run_path = self.root / _PARTS / _RUN
        if run_path.exists():
            self._same_run(run_path, identity)
        elif any(self._files()):
            raise InputError(
                "the folder holds results that do not say which run wrote them",
                where=self.root,
                hint="name another folder, or start over",
            )
        write_json(run_path, identity.to_dict())

    def done(self, index: int, input_sha256: str) -> PartRecord | None:
        """Return the record of part `index` if it is finished and its files are whole.

        Raises
        ------
        InputError
            If the finished part was made from other records.
        """
        path = self.marker(index)
        if not path.exists():
            return None
        try:
            record = PartRecord(**json.loads(path.read_text(encoding="utf-8")))
        except (UnicodeDecodeError, ValueError, TypeError):
            _log.warning("%s is damaged; part %d is scored again", path, index)
            return None
        if record.input_sha256 != input_sha256:
            raise InputError(
                f"the folder belongs to another input: part {index} was made from other proteins",
                where=self.root,
                hint="name another folder, or start over",
            )
        for name, sha256 in record.files.items():
            file = self.root / name
            if not file.is_file() or fingerprint_file(file) != sha256:
                _log.warning("%s is missing or damaged; part %d is scored again", file, index)
                return None
        return record

    def finish_part(self, record: PartRecord) -> None:
        """Write the marker of a part whose files all stand."""
        plain = {name: getattr(record, name) for name in PartRecord.__dataclass_fields__}
        write_json(self.marker(record.index), {**plain, "files": dict(record.files)})

    def refuse_parts_after(self, n_parts: int) -> None:
        """Raise `InputError` if the folder holds more than `n_parts` parts."""
        markers = (self.root / _PARTS).glob("[0-9]*.json")
        if extra := [path for path in markers if int(path.stem) >= n_parts]:
            raise InputError(
                f"the folder belongs to another input: it holds {n_parts + len(extra)} parts, "
                f"this input has {n_parts}",
                where=self.root,
                hint="name another folder, or start over",
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder against other runs; the system frees it when the process dies.

        Raises
        ------
        InputError
            If another process holds it.
        """
        import fcntl

        if self.root.exists() and not self.root.is_dir():
            raise InputError("is a file, not a folder", where=self.root)
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / _LOCK).open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                handle.seek(0)
                raise InputError(
                    "another run is writing here", where=self.root, value=handle.read().strip()
                ) from error
            handle.truncate(0)
            handle.write(f"process {os.getpid()}\n")
            handle.flush()
            try:
                yield
            finally:
                handle.truncate(0)  # the file stays: unlinking a held lock would let two in

    def clear(self) -> None:
        """Remove all that a run wrote; call it under the lock."""
        # The manifest goes first: what is left after a kill must not look complete. run.json goes
        # last but for the parts it vouches for, so that what is left can be started over again.
        self.manifest_path.unlink(missing_ok=True)
        for path in sorted(self._files(), key=lambda path: path.name == _RUN):
            path.unlink()

    # Private.

    def _files(self) -> Iterator[Path]:
        """Yield every file in the folder but the lock."""
        yield from (path for path in self.root.iterdir() if path.is_file() and path.name != _LOCK)
        for name in (*TABLES, _PARTS):
            if (self.root / name).is_dir():
                yield from (self.root / name).iterdir()

    def _refuse_strangers(self) -> None:
        # Also what makes starting over safe: nothing is removed from a folder that is not ours.
        inside = (p for p in self._files() if p.parent != self.root and not _WITHIN.match(p.name))
        beside = (path for path in self.root.iterdir() if path.name not in _OURS)
        for path in (*beside, *inside):
            if not _TEMPORARY.match(path.name):
                raise InputError(
                    "the folder holds something else than a score run",
                    where=self.root,
                    value=str(path.relative_to(self.root)),
                    hint="name an empty or a new folder",
                )

    def _same_run(self, run_path: Path, identity: RunIdentity) -> None:
        try:
            found = json.loads(run_path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, ValueError) as error:
            raise InputError(f"is damaged: {error}", where=run_path, hint="start over") from error
        wanted = identity.to_dict()
        for name in wanted:
            if found.get(name) != wanted[name]:
                raise InputError(
                    f"the folder belongs to another run: its {name} is {found.get(name)!r}, "
                    f"this run's is {wanted[name]!r}",
                    where=self.root,
                    hint="name another folder, or start over",
                )

    def _sweep(self) -> None:
        """Remove temporary files that a killed run left."""
        for path in list(self._files()):
            if _TEMPORARY.match(path.name):
                path.unlink()
