"""The score folder: where files lie, which parts are done, who may write."""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from plmsae.core.atomic import json_text
from plmsae.core.errors import FormatError, InputError, NotFoundError, printable
from plmsae.core.folders import LOCK, Folder, copy_files, folder_at
from plmsae.core.object_store import is_remote
from plmsae.core.stopping import CONTINUES
from plmsae.scoring.manifest import Counts, Manifest, RunIdentity
from plmsae.scoring.schema import TABLES

if TYPE_CHECKING:
    import os

    import polars as pl

_log = logging.getLogger(__name__)

_PARTS = "parts"
_RUN = "run.json"
_MANIFEST = "manifest.json"
_TIMING = "timing.json"
_OURS = frozenset({*TABLES, _PARTS, _MANIFEST, _TIMING, LOCK})
_TEMPORARY = re.compile(r"^\..+\.\d+\.tmp\.\w+$")  # as atomic_path names them
_WITHIN = re.compile(r"^(part-\d{5,}(\.latents-\d{5,}-\d{5,})?\.parquet|\d{5,}\.json|run\.json)$")


OTHER_FOLDER = "name another folder, or give --start-over to remove what that run wrote"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecord(Counts):
    """The marker of a finished part: ``parts/00000.json``, written after all its files."""

    index: int
    """0-based place in the input."""
    files: Mapping[str, str]
    """Path inside the folder to SHA-256."""


@dataclass(frozen=True, slots=True)
class ScoreFolder:
    """Names and state of one output folder.

    Parameters
    ----------
    at : str or Path
        The folder, here or at ``s3://BUCKET/PREFIX``; it need not exist yet.
    """

    at: str | os.PathLike[str]

    @property
    def files(self) -> Folder:
        """What holds its files."""
        return folder_at(self.at)

    @property
    def where(self) -> str:
        """How messages name the folder."""
        return self.files.location

    def absolute(self) -> ScoreFolder:
        """Return the folder named so that every working folder has the same one."""
        return self if is_remote(self.at) else replace(self, at=Path(self.at).absolute())

    def is_seen(self) -> bool:
        """Return whether this machine sees the folder, which a run has made."""
        return is_remote(self.at) or self.files.exists()

    # Reading a complete folder.

    def manifest(self) -> Manifest:
        """Read the manifest.

        Raises
        ------
        InputError
            If the folder does not exist or the run in it is not complete.
        """
        if not self.files.exists():
            raise NotFoundError("no such score folder", where=self.where)
        if not self.files.holds(_MANIFEST):
            if self.files.children(_PARTS):
                what, hint = "the score run here is not complete", "run the same score again"
            else:
                what, hint = "not a score folder: it has no manifest.json", None
            raise InputError(what, where=self.where, hint=hint)
        return Manifest.parse(self._bytes(_MANIFEST), where=f"{self.where}/{_MANIFEST}")

    def manifest_text(self) -> str:
        """Return the manifest as it is written."""
        return self._bytes(_MANIFEST).decode("utf-8")

    def names(self, name: str) -> list[str]:
        """Return the names of the files of table `name`, sorted."""
        return [child for child, is_file in self.files.children(name) if is_file]

    def open(self, name: str) -> IO[bytes]:
        """Open a file, named by its path inside the folder, to read from any place."""
        return self.files.open(name)

    def read(self, name: str, index: int) -> pl.DataFrame:
        """Return part `index` of table `name`."""
        import polars as pl

        file = f"{name}/part-{index:05d}.parquet"
        try:
            return pl.read_parquet(self._bytes(file), glob=False)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise FormatError(
                f"cannot be read: {error}",
                where=f"{self.where}/{file}",
                hint="run the same score again",
            ) from error

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Give a folder here with all but the features: this one, or a copy for the time being."""
        if not is_remote(self.at):
            yield Path(self.at)
            return
        with tempfile.TemporaryDirectory() as scratch:
            names = [*(name for name in TABLES if name != "features"), _MANIFEST]
            copy_files(self.files, names, Path(scratch))
            yield Path(scratch)

    # Writing.

    def check(self) -> None:
        """Raise `InputError` if this is a file, or a folder that holds something else."""
        if printable(self.where) != self.where:
            raise InputError(
                "the name of an output folder must be UTF-8", where=self.where, hint="name another"
            )
        if not is_remote(self.at) and Path(self.at).exists() and not Path(self.at).is_dir():
            raise InputError("is a file, not a folder", where=self.where)
        self._refuse_strangers()

    def check_run(self, identity: RunIdentity, sha256: Sequence[str] | None = None) -> None:
        """Refuse a folder of another run, or of another input; nothing is changed.

        Parameters
        ----------
        sha256 : sequence of str, optional
            Fingerprints of the parts of its input, where they are known.

        Raises
        ------
        InputError
            If the folder belongs to another run or input.
        """
        run = f"{_PARTS}/{_RUN}"
        if self.files.holds(run):
            self._same_run(run, identity)
        elif not all(_TEMPORARY.match(_last(name)) for name in self._all()):
            raise InputError(
                "the folder holds results that do not say which run wrote them",
                where=self.where,
                hint=OTHER_FOLDER,
            )
        if sha256 is not None:
            self.refuse_parts_after(len(sha256))
            for index, own in enumerate(sha256):
                if (record := self._record(index)) is not None:
                    self._same_input(record, own)

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
        self.check_run(identity)
        self._write_json(f"{_PARTS}/{_RUN}", identity.to_dict())

    def done(self, index: int, input_sha256: str) -> PartRecord | None:
        """Return the record of part `index` if it is finished and its files are whole.

        Raises
        ------
        InputError
            If the finished part was made from other records.
        """
        if (record := self._record(index)) is None:
            return None
        self._same_input(record, input_sha256)
        if (name := self.files.damaged(record.files)) is not None:
            _log.warning(
                "%s/%s is missing or damaged; part %d is scored again", self.where, name, index
            )
            return None
        return record

    def kept(self) -> str:
        """Return what a run that was stopped leaves here, in words; empty if it is nothing."""
        n = sum(name[0].isdigit() for name in self.names(_PARTS))
        parts = "1 finished part is" if n == 1 else f"{n:,} finished parts are"
        return f"{parts} kept in {self.where}; {CONTINUES}" if n else ""

    def write(self, name: str) -> AbstractContextManager[Path]:
        """Give a path to write to; what was written appears as `name`, whole, at the end."""
        return self.files.write(name)

    def finish_part(self, record: PartRecord) -> None:
        """Write the marker of a part whose files all stand."""
        plain = {name: getattr(record, name) for name in PartRecord.__dataclass_fields__}
        self._write_json(_marker(record.index), {**plain, "files": dict(record.files)})

    def finish(self, manifest: Manifest, timing: Mapping[str, Any]) -> None:
        """Write the times, then the manifest, which says that the run is complete."""
        self._write_json(_TIMING, timing)
        self._write_json(_MANIFEST, manifest.to_dict())

    def reopen(self) -> None:
        """Take the manifest away: it must not stand while a part is being made again."""
        self.files.remove(_MANIFEST)

    def refuse_parts_after(self, n_parts: int) -> None:
        """Raise `InputError` if the folder holds more than `n_parts` parts."""
        markers = (name for name in self.names(_PARTS) if name[0].isdigit())
        if extra := [name for name in markers if int(name.partition(".")[0]) >= n_parts]:
            raise InputError(
                f"the folder belongs to another input: it holds {n_parts + len(extra)} parts, "
                f"this input has {n_parts}",
                where=self.where,
                hint=OTHER_FOLDER,
            )

    def lock(self) -> AbstractContextManager[None]:
        """Hold the folder against other runs; the system frees it when the process dies.

        An object store has no such lock. Two runs of one command there do the same work twice and
        store the same bytes; a run of another model or input is refused by ``run.json``.

        Raises
        ------
        InputError
            If another process holds it.
        """
        return self.files.lock(LOCK)

    def clear(self) -> None:
        """Remove all that a run wrote; call it under the lock."""
        # The manifest goes first: what is left after a kill must not look complete. run.json goes
        # last but for the parts it vouches for, so that what is left can be started over again.
        self.files.remove(_MANIFEST)
        for name in sorted(self._all(), key=lambda name: name.endswith(f"/{_RUN}")):
            self.files.remove(name)

    # Private.

    def _bytes(self, name: str) -> bytes:
        with self.files.open(name) as handle:
            return handle.read()

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        with self.files.write(name) as path:
            path.write_text(printable(json_text(value)), encoding="utf-8")

    def _all(self) -> Iterator[str]:
        """Yield every file in the folder but the lock."""
        yield from (name for name, is_file in self.files.children() if is_file and name != LOCK)
        for table in (*TABLES, _PARTS):
            yield from (f"{table}/{name}" for name, _ in self.files.children(table))

    def _refuse_strangers(self) -> None:
        # Also what makes starting over safe: nothing is removed from a folder that is not ours.
        beside = (name for name, _ in self.files.children() if name not in _OURS)
        inside = (name for name in self._all() if "/" in name and not _WITHIN.match(_last(name)))
        for name in (*beside, *inside):
            if not _TEMPORARY.match(_last(name)):
                raise InputError(
                    "the folder holds something else than a score run",
                    where=self.where,
                    value=name,
                    hint="name an empty or a new folder",
                )

    def _record(self, index: int) -> PartRecord | None:
        marker = _marker(index)
        if not self.files.holds(marker):
            return None
        try:
            return PartRecord(**json.loads(self._bytes(marker)))
        except (UnicodeDecodeError, ValueError, TypeError):
            _log.warning("%s/%s is damaged; part %d is scored again", self.where, marker, index)
            return None

    def _same_input(self, record: PartRecord, sha256: str) -> None:
        if record.input_sha256 != sha256:
            raise InputError(
                f"the folder belongs to another input: part {record.index} was made from other "
                "proteins",
                where=self.where,
                hint=OTHER_FOLDER,
            )

    def _same_run(self, run: str, identity: RunIdentity) -> None:
        try:
            found = json.loads(self._bytes(run))
        except (UnicodeDecodeError, ValueError) as error:
            raise FormatError(
                f"is damaged: {error}", where=f"{self.where}/{run}", hint=OTHER_FOLDER
            ) from error
        wanted = identity.to_dict()
        for name in wanted:
            if found.get(name) != wanted[name]:
                raise InputError(
                    f"the folder belongs to another run: its {name} is {found.get(name)!r}, "
                    f"this run's is {wanted[name]!r}",
                    where=self.where,
                    hint=OTHER_FOLDER,
                )

    def _sweep(self) -> None:
        """Remove temporary files that a killed run left."""
        for name in list(self._all()):
            if _TEMPORARY.match(_last(name)):
                self.files.remove(name)


def _marker(index: int) -> str:
    """Return the name of the done-marker of part `index`."""
    return f"{_PARTS}/{index:05d}.json"


def _last(name: str) -> str:
    return name.rpartition("/")[2]
