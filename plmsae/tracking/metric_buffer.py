"""Metrics on their way to MLflow: gathered by the training loop, written by a thread of their own.

A write to SQLite takes about ten milliseconds and one to a server far more, and it may fail; a
training step waits for neither.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

_LOG = logging.getLogger(__name__)

Point = tuple[str, float, int, int]
"""One measurement: name, value, milliseconds since 1970, step."""

_BATCH = 1000  # MLflow's limit for one request.
_KEEP = 100_000  # Points held while the server is away; about 10 MB.


class MetricBuffer:
    """Gather points and hand them to `write` in batches, in order, from one thread.

    Parameters
    ----------
    write : callable
        Takes up to 1,000 points; may raise. Tried again with the next batch, so nothing is lost
        while a server restarts; when more than 100,000 points wait, the oldest are dropped.
    every_s : float, optional
        How long a point may wait, in seconds.
    """

    def __init__(self, write: Callable[[Sequence[Point]], None], *, every_s: float = 2.0) -> None:
        self._write = write
        self._every_s = every_s
        self._points: list[Point] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._warned = False
        self._thread = threading.Thread(target=self._run, name="plmsae-metrics", daemon=True)
        self._thread.start()

    def add(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Take measurements of one step; returns at once.

        NaN and infinity are kept: they tell when training broke.
        """
        now = int(time.time() * 1000)
        with self._lock:
            self._points += [(name, float(value), now, step) for name, value in metrics.items()]
            if len(self._points) > _KEEP:
                del self._points[: len(self._points) - _KEEP]
            full = len(self._points) >= _BATCH
        if full:
            self._wake.set()

    def flush(self) -> bool:
        """Write what waits, now, in this thread; tell whether all of it could be written."""
        with self._writing:
            while True:
                with self._lock:
                    batch = self._points[:_BATCH]
                    del self._points[: len(batch)]
                if not batch:
                    return True
                if not self._try(batch):
                    with self._lock:
                        self._points[:0] = batch
                    return False

    def close(self) -> None:
        """Stop the thread and write the rest; what cannot be written is counted in a warning."""
        self._closed = True
        self._wake.set()
        self._thread.join(timeout=60)
        if not self.flush():
            _LOG.warning("%d measurements could not be written", len(self._points))

    def _try(self, batch: Sequence[Point]) -> bool:
        try:
            self._write(batch)
        except Exception as error:  # noqa: BLE001 (a lost metric must never end a training run)
            if not self._warned:
                _LOG.warning("metrics cannot be written for now: %s", str(error).split("\n")[0])
            self._warned = True
            return False
        self._warned = False
        return True

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(self._every_s)
            self._wake.clear()
            self.flush()
