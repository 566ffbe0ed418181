"""Metrics on their way to MLflow: gathered by the training loop, written by a thread of their own.

A write to SQLite takes about ten milliseconds and one to a server far more, and it may fail; a
training step waits for neither.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from plmsae.tracking.outage import Point, Unsent

_LOG = logging.getLogger(__name__)

_FULL = 1000  # Points at which the thread is woken before its time.


class MetricBuffer:
    """Keep points in a file and hand them to `write` in batches, in order, from one thread.

    Parameters
    ----------
    write : callable
        Takes up to 1,000 points; may raise. Tried again with the next batch, so nothing is lost
        while a server is away.
    unsent : Unsent
        Where points wait.
    every_s : float, optional
        How long a point may wait, in seconds.
    """

    def __init__(
        self, write: Callable[[Sequence[Point]], None], unsent: Unsent, *, every_s: float = 2.0
    ) -> None:
        self._write = write
        self._every_s = every_s
        self._unsent = unsent
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
        self._unsent.add_points(metrics, step=step)
        if self._unsent.n_points >= _FULL and not self._warned:
            self._wake.set()

    def flush(self) -> bool:
        """Write what waits, now, in this thread; tell whether all of it could be written."""
        with self._writing:
            while True:
                points, mark = self._unsent.next_points()
                if not points:
                    return True
                if not self._try(points):
                    return False
                self._unsent.sent(points, mark)

    def close(self, *, busy_s: float = 60) -> None:
        """Stop the thread and write the rest; what cannot be written stays in the file.

        Parameters
        ----------
        busy_s : float, optional
            How long to wait for the thread, which may be in the middle of a write, in seconds.
        """
        self._closed = True
        self._wake.set()
        self._thread.join(timeout=busy_s)
        if not self._thread.is_alive():
            self.flush()

    def _try(self, points: Sequence[Point]) -> bool:
        try:
            self._write(points)
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
