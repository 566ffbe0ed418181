"""How fast a run went, and how much of its time it waited for batches."""

from __future__ import annotations

import time


class Throughput:
    """Vectors, waiting and wall time since a beginning.

    Attributes
    ----------
    vectors : int
        Vectors trained on.
    waited : float
        Seconds the trainer stood still because the next batch was not there yet.
    seconds : float
        Wall time of all that `add` has been told of: steps, waits, and whatever was between them
        (metrics, probes, checkpoints, other SAEs on the same pass).
    """

    def __init__(self) -> None:
        self.vectors = 0
        self.waited = 0.0
        self.seconds = 0.0
        self._begin = time.perf_counter()

    def add(self, vectors: int, waited: float) -> None:
        """Count a step that has just been taken, and the wait before it."""
        self.vectors += vectors
        self.waited += waited
        self.seconds = time.perf_counter() - self._begin

    @property
    def vectors_per_second(self) -> float:
        """Vectors a second of wall time; 0 before the first step."""
        return self.vectors / max(self.seconds, 1e-9)

    @property
    def stall_share(self) -> float:
        """Share of the wall time that was spent waiting for batches; 0 before the first step."""
        return self.waited / max(self.seconds, 1e-9)
