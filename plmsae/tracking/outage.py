"""What happens while MLflow's server is away: calls wait for it, and what they bring is kept.

Calls of a run that is going on are made again until the server is back, for a stated time (`WAIT`).
Measurements, and how a run ended, are kept in a file until MLflow has them: a later command that
finds the file sends them (`send_kept`). An alias or a tag that two writers set at once is set.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from plmsae.core.errors import UnavailableError, printable
from plmsae.core.folders import make_folder, remove_empty
from plmsae.core.resources import cache_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)

WAIT = "PLMSAE_MLFLOW_WAIT_S"
"""Environment variable: for how many seconds calls of a run are made again; 0 makes them once."""
_WAIT_S = 1800.0
_PAUSE_S = 5.0
_ATTEMPTS = 5  # to set what others set at the same moment
_BATCH = 1000  # MLflow's limit of metrics for one request.

Point = tuple[str, float, int, int]
"""One measurement: name, value, milliseconds since 1970, step."""

_here = threading.local()


class ServerAwayError(UnavailableError):
    """MLflow's server went away during a run and did not come back in time."""


def wait_s() -> float:
    """Return for how many seconds calls are made again."""
    try:
        return max(0.0, float(os.environ.get(WAIT, _WAIT_S)))
    except ValueError:
        _LOG.warning("%s is no number; %g s are meant", WAIT, _WAIT_S)
        return _WAIT_S


@contextmanager
def waiting() -> Iterator[None]:
    """Have the MLflow calls of this thread wait for a server that is away.

    Once the time is up they wait no more until the outermost block has ended.
    """
    before = getattr(_here, "waits", None)
    _here.waits = before is not False
    try:
        yield
    finally:
        _here.waits = None if before is None else _here.waits


@contextmanager
def not_waiting() -> Iterator[None]:
    """Have the calls of this thread made once, though it is inside a `waiting` block."""
    before = getattr(_here, "waits", None)
    _here.waits = None if before is None else False
    try:
        yield
    finally:
        _here.waits = before


def patient(client: MlflowClient, uri: str) -> MlflowClient:
    """Return a client of MLflow's whose calls wait inside a `waiting` block.

    Parameters
    ----------
    client : MlflowClient
    uri : str
        Of the store, for messages.
    """
    return cast("MlflowClient", _Patient(client, uri))


class _Patient:
    def __init__(self, client: MlflowClient, uri: str) -> None:
        self._client = client
        self._uri = uri

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found
        made = _again(found, self._uri)
        return _beside_others(made) if name.startswith("set_") else made


def _beside_others(call: Callable[..., Any]) -> Callable[..., Any]:
    """Have an alias or a tag set also while others set it: the last one stands.

    MLflow looks whether it is there, then inserts it; of two that do so at once, its database
    refuses one. Asked again, MLflow finds it and changes it.
    """

    def made(*args: Any, **kwargs: Any) -> Any:
        from mlflow.exceptions import MlflowException

        for _ in range(_ATTEMPTS - 1):
            try:
                return call(*args, **kwargs)
            except MlflowException as error:
                # As the drivers of SQLite and MySQL, and that of PostgreSQL, call it.
                if not re.search("IntegrityError|UniqueViolation", str(error)):
                    raise
        return call(*args, **kwargs)

    return made


def _again(call: Callable[..., Any], uri: str) -> Callable[..., Any]:
    def made(*args: Any, **kwargs: Any) -> Any:
        until = None
        while True:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                if not getattr(_here, "waits", None) or not is_away(error):
                    raise
                now, longest = time.monotonic(), wait_s()
                if until is None:
                    until = now + longest
                    _LOG.warning(
                        "MLflow's server at %s does not answer; trying for %g s (%s)",
                        *(uri, longest, WAIT),
                    )
                if now >= until:
                    _here.waits = False
                    raise ServerAwayError(
                        f"MLflow's server did not answer for {longest:g} s ({WAIT})", where=uri
                    ) from error
                time.sleep(min(_PAUSE_S, until - now))

    return made


def is_away(error: Exception) -> bool:
    """Tell whether an error of MLflow's says that its server, or the database, is not there."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import ConnectionError as NotConnected
    from requests.exceptions import HTTPError, Timeout

    if isinstance(error, HTTPError):  # of artifacts
        return error.response is not None and error.response.status_code in (429, 502, 503, 504)
    if not isinstance(error, MlflowException):
        return isinstance(error, NotConnected | Timeout)
    if is_unanswered(error):
        return "too many 500" not in str(error)  # a server that is there and broken
    # An SQLite file that cannot be read does not come back.
    return error.error_code == "TEMPORARILY_UNAVAILABLE" and "sqlite" not in str(error)


def is_unanswered(error: Exception) -> bool:
    """Tell whether a request of MLflow's has no answer: whether it was carried out is not known."""
    text = str(error)
    return "API request to" in text and ("with exception" in text or "with timeout" in text)


class Unsent:
    """What MLflow does not have yet of one run, in a file of one line of JSON for each entry.

    An entry is in the file before it is sent, so that neither an outage nor the death of the
    process loses it. The file is made with the first entry, and held by a lock.

    Parameters
    ----------
    folder : Path or None
        Where the file lies: the output folder of the run; None means plmsae's cache.
    run_id : str
    uri : str
        The store, without passwords.
    """

    def __init__(self, folder: Path | None, run_id: str, uri: str) -> None:
        self.path = (folder or _common_folder()) / f"{_PREFIX}{run_id}{_SUFFIX}"
        """The file."""
        self._head = {"run_id": run_id, "uri": uri}
        self._lock = threading.Lock()
        self._made: list[Path] = []
        self._file: Any = None
        self._sent = 0  # bytes of the file, and points in them
        self.n_points = 0
        """Measurements that wait."""
        self.in_memory = False
        """Whether the file cannot be written."""

    def add_points(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Append the measurements of one step."""
        now, named = int(time.time() * 1000), list(metrics.items())
        for start in range(0, len(named), _BATCH):
            part = {k: _plain(float(v)) for k, v in named[start : start + _BATCH]}
            with self._lock:
                self._append({"at": now, "step": step, "metrics": part})
                self.n_points += len(part)

    def add_end(self, status: str | None = None, tags: Mapping[str, str] | None = None) -> None:
        """Append how the run ended, or tags that say why."""
        entry = {"at": int(time.time() * 1000), "status": status, "tags": dict(tags or {})}
        with self._lock:
            self._append(entry)

    def next_points(self) -> tuple[list[Point], int]:
        """Return the measurements to send next, 1,000 at most, and a mark for `sent`."""
        with self._lock:
            if self._file is None:
                return [], 0
            points: list[Point] = []
            mark = self._sent
            self._file.seek(mark)
            # Enough for any one entry: 1,000 names of 250 characters.
            for line in self._file.read(1 << 19).splitlines(keepends=True):
                more = _points(_read(line) or {})
                if not line.endswith(b"\n") or len(points) + len(more) > _BATCH:
                    break
                points += more
                mark += len(line)
            return points, mark

    def sent(self, points: Sequence[Point], mark: int) -> None:
        """Note that measurements were sent; the file is emptied when all of them were."""
        with self._lock:
            self.n_points = max(0, self.n_points - len(points))
            self._sent = mark
            if self._file.seek(0, os.SEEK_END) == mark:
                self._file.truncate(0)
                self._sent = 0
                self._append(self._head)
                self._sent = self._file.tell()

    def close(self) -> None:
        """Let go of the file; remove it if nothing in it waits."""
        with self._lock:
            if self._file is None:
                return
            waits = self._file.seek(0, os.SEEK_END) > self._sent
            self._file.close()
            self._file = None
            if not waits:
                self._remove_file()

    def _remove_file(self) -> None:
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        remove_empty(self._made)

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        if self._file is None:
            self._open()
        try:
            self._file.seek(0, os.SEEK_END)
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._give_up_file(error)
            self._file.seek(0, os.SEEK_END)
            self._file.write(line)

    def _open(self) -> None:
        try:
            self._made = make_folder(self.path.parent)
            # Unbuffered: what a killed process wrote is in the file.
            self._file = self.path.open("a+b", buffering=0)
            _hold(self._file)
        except OSError as error:
            self._give_up_file(error)
        # What a run of the same id left here, and could not be sent since, comes first.
        earlier = self._file.seek(0, os.SEEK_END)
        self._append(self._head)
        self._sent = 0 if earlier else self._file.tell()

    def _give_up_file(self, error: OSError) -> None:
        _LOG.warning("%s: %s; what MLflow does not have yet is only in memory", self.path, error)
        kept = b""
        if self._file is not None:
            with suppress(OSError):
                self._file.seek(self._sent)
                whole, end, _half = self._file.read().rpartition(b"\n")
                kept = whole + end
            self._file.close()
            if not kept:
                self._remove_file()
        self._file, self._sent, self.in_memory = BytesIO(kept), 0, True


_PREFIX, _SUFFIX = ".unsent-", ".jsonl"


def _common_folder() -> Path:
    return cache_folder() / "unsent"


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # JSON has no NaN


def _read(line: bytes) -> dict[str, Any] | None:
    """Return an entry; None for a line that a killed process, or a full disk, left half."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _points(entry: Mapping[str, Any]) -> list[Point]:
    metrics = entry.get("metrics") or {}
    return [(name, float(value), entry["at"], entry["step"]) for name, value in metrics.items()]


def _hold(file: Any) -> bool:
    """Lock a file against other processes; tell whether it could be. Free when this one dies."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def send_kept(folder: Path | None, store: MlflowClient, uri: str) -> None:
    """Send what earlier runs kept in a folder, and in the cache; what cannot be sent stays.

    Parameters
    ----------
    folder : Path or None
        The output folder of a run.
    store : MlflowClient
    uri : str
        The store, without passwords; what other stores should get is left.
    """
    for place in (folder, _common_folder()):
        for path in sorted(place.glob(f"{_PREFIX}*{_SUFFIX}")) if place is not None else ():
            try:
                _send_file(path, store, uri)
            # It must not end the run that found it.
            except Exception as error:  # noqa: BLE001
                line = printable(str(error)).split("\n")[0]
                _LOG.warning("%s: what it keeps could not be sent to MLflow: %s", path, line)


def _send_file(path: Path, store: MlflowClient, uri: str) -> None:
    with path.open("r+b") as file:
        if not _hold(file):
            return  # of a run that is going on
        head = _read(file.readline()) or {}
        if head.get("uri") != uri:
            return
        run_id, n = str(head.get("run_id")), 0
        points: list[Point] = []
        for line in file:
            entry = _read(line) or {}
            points += _points(entry)
            if len(points) >= _BATCH or "status" in entry:
                n += send_points(store, run_id, points)
                points = []
            for name, value in (entry.get("tags") or {}).items():
                store.set_tag(run_id, name, value)
            if entry.get("status"):
                store.set_terminated(run_id, entry["status"], entry["at"])
        n += send_points(store, run_id, points)
    path.unlink(missing_ok=True)
    if n:
        _LOG.info(
            "%s measurements of run %s, kept in %s, are in MLflow now", f"{n:,}", run_id, path
        )


def send_points(store: MlflowClient, run_id: str, points: Sequence[Point]) -> int:
    """Send measurements of a run; return how many. The same ones again change nothing."""
    from mlflow.entities import Metric

    for start in range(0, len(points), _BATCH):
        part = points[start : start + _BATCH]
        store.log_batch(run_id, metrics=[Metric(*point) for point in part])
    return len(points)
