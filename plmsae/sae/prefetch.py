"""Running a producer ahead of its consumer in a thread, in order, within bounds."""

from __future__ import annotations

import atexit
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from plmsae.sae.data import BatchSource, as_source

T = TypeVar("T")

# How often a producer that waits for room looks whether anyone still wants what it makes.
_LOOK_SECONDS = 0.05
_JOIN_SECONDS = 5.0


@dataclass
class Stalls:
    """How long consumers waited for producers, in seconds."""

    waited: float = 0.0
    """Time the consumer waited, the first item (which nothing can run ahead of) left out."""
    first: float = 0.0
    """Time until the first item."""
    elapsed: float = 0.0
    """Time from the first item to the last one taken."""

    @property
    def share(self) -> float:
        """Share of the time, after the first item, that the consumer waited."""
        return self.waited / self.elapsed if self.elapsed > 0 else 0.0


class _End:
    """What the producer sends last: why it ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Producer:
    """A thread that fills a bounded queue until it is done or told to stop."""

    def __init__(self, start: Callable[[], Iterable[object]], ahead: int) -> None:
        self.items: queue.Queue[object] = queue.Queue(maxsize=ahead)
        self._start = start
        self._stop = threading.Event()
        # Which GPU is current, and whether gradients are recorded, is known to each thread alone.
        self._gpu = torch.cuda.current_device() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
        self._thread = threading.Thread(target=self._run, name="plmsae-prefetch", daemon=True)
        # A daemon still at work while the interpreter goes down can crash it.
        atexit.register(self.close)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and wait for it."""
        atexit.unregister(self.close)
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        error: BaseException | None = None
        iterator: Iterator[object] | None = None
        try:
            if self._gpu is not None:
                torch.cuda.set_device(self._gpu)
            with torch.no_grad():
                iterator = iter(self._start())
                for item in iterator:
                    if not self._put(item):
                        break
        # Whatever it is, it is the consumer's: raised there, with this thread's traceback.
        except BaseException as caught:  # noqa: BLE001
            error = caught
        finally:
            if isinstance(iterator, Generator):
                iterator.close()
        self._put(_End(error))

    def _put(self, item: object) -> bool:
        while not self._stop.is_set():
            try:
                self.items.put(item, timeout=_LOOK_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def prefetch(
    start: Callable[[], Iterable[T]], *, ahead: int = 4, stalls: Stalls | None = None
) -> Iterator[T]:
    """Yield what an iterable yields, made ahead in a thread.

    Order is kept; an exception of the producer is raised in its place; when the consumer stops
    (closes, drops or finishes the iterator), so does the thread.

    Parameters
    ----------
    start : callable
        Called in the thread; returns the iterable. It must not share state with the consumer. No
        gradients are recorded, and the current GPU is the consumer's.
    ahead : int
        Most items kept waiting; one more is in the making.
    stalls : Stalls, optional
        Where to count the time that the consumer waited.
    """
    if ahead < 1:
        raise ValueError(f"ahead must be positive, not {ahead}")
    return _consume(start, ahead, Stalls() if stalls is None else stalls)


def _consume(start: Callable[[], Iterable[T]], ahead: int, stalls: Stalls) -> Iterator[T]:
    producer = _Producer(start, ahead)
    try:
        began: float | None = None
        while True:
            asked = time.perf_counter()
            item = producer.items.get()
            now = time.perf_counter()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            if began is None:
                began, before = now, stalls.elapsed
                stalls.first += now - asked
            else:
                stalls.waited += now - asked
            stalls.elapsed = before + now - began
            yield item  # type: ignore[misc]
    finally:
        producer.close()


class PrefetchedBatches:
    """A `BatchSource` whose batches are made ahead in a thread; the batches stay the same.

    Parameters
    ----------
    batches : iterable of batches, or BatchSource
        For example `ShuffledBatches` over a running PLM, or `CachedActivations`.
    ahead : int
        Most batches kept waiting.
    pin_memory : bool
        Whether to put batches that are on the CPU into pinned memory, from where they travel to a
        GPU several times faster, and without the trainer waiting.

    Attributes
    ----------
    stalls : Stalls
        How long the consumer waited, over all iterations.
    """

    def __init__(
        self, batches: Iterable[Any] | BatchSource, *, ahead: int = 4, pin_memory: bool = False
    ) -> None:
        self._source = as_source(batches)
        self._ahead = ahead
        self._pin_memory = pin_memory
        self.stalls = Stalls()

    def iter_from(self, step: int) -> Iterator[Any]:
        """Yield the batches from the `step`-th on."""
        return prefetch(lambda: self._made(step), ahead=self._ahead, stalls=self.stalls)

    def _made(self, step: int) -> Iterator[Any]:
        for batch in self._source.iter_from(step):
            yield _pinned(batch) if self._pin_memory else batch


def _pinned(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {key: _pinned(value) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_pinned(value) for value in batch)
    return batch.pin_memory() if batch.device.type == "cpu" else batch
