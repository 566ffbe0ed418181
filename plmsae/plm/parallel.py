"""Batches side by side on the cores of a CPU, instead of each one spread over all of them.

A forward pass of a PLM is hundreds of short operations. Spread over several cores each of them ends
with a wait for the slowest: two cores are a third faster than one, and slower where something else
runs on them. A batch per core waits for nobody.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def pays(device: torch.device, n_items: int) -> bool:
    """Say whether so many items are done sooner side by side on a device, with a thread each."""
    n_threads = torch.get_num_threads()
    return device.type == "cpu" and n_threads > 1 and n_items >= 2 * n_threads


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, side_by_side: bool
) -> Iterator[Result]:
    """Yield the results of a function in the order of the items.

    Parameters
    ----------
    function : callable
        Runs torch on the CPU. All functions share the same threads.
    items : iterable
        May itself be made by `in_order`.
    side_by_side : bool
        Work on several items at a time, each with one thread: as many as torch has threads, with
        one more that waits for a thread. Otherwise one after another, with all threads.
    """
    if not side_by_side:
        yield from map(function, items)
        return
    n_threads = torch.get_num_threads()
    pool = _pool(n_threads, os.getpid())
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)


@cache
def _pool(n_threads: int, _process: int) -> ThreadPoolExecutor:
    """Return the threads that a process keeps for this, each of which computes alone.

    Threads that come and go would each take memory of their own from the C library, which keeps it.
    """
    started = threading.Barrier(n_threads + 1)

    def start() -> None:
        torch.get_num_threads()  # Else what is set now is overwritten at the first operation.
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="plmsae-plm", initializer=start)
    for _ in range(n_threads):
        pool.submit(int)
    started.wait()
    # The number is of each thread alone, but threads that are yet to come take the last one.
    torch.set_num_threads(n_threads)
    return pool
