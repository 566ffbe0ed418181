"""A producer run ahead: same items, same order, same errors, and it stops when no one listens."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from sae_planted import Planted

from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.prefetch import PrefetchedBatches, Stalls, prefetch
from plmsae.sae.train import train


def workers() -> int:
    return sum(t.name == "plmsae-prefetch" for t in threading.enumerate())


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("ahead", [1, 2, 100])
def test_items_come_in_their_order_and_the_thread_ends(ahead: int) -> None:
    assert list(prefetch(lambda: range(300), ahead=ahead)) == list(range(300))
    assert workers() == 0


def test_the_producer_runs_ahead_but_within_bounds() -> None:
    made = []

    def numbers() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    stream = prefetch(numbers, ahead=3)
    assert next(stream) == 0
    # The one taken, three waiting and one in hand.
    until(lambda: len(made) == 5)
    time.sleep(0.12)
    assert len(made) == 5
    assert list(stream) == list(range(1, 100))


@pytest.mark.parametrize("error", [RuntimeError("no memory"), KeyboardInterrupt()])
def test_an_error_of_the_producer_is_raised_in_its_place(error: BaseException) -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise error

    stream = prefetch(failing, ahead=8)
    assert (next(stream), next(stream)) == (1, 2)
    with pytest.raises(type(error)) as caught:
        next(stream)
    assert caught.value is error
    assert any(entry.name == "failing" for entry in caught.traceback)
    assert workers() == 0


def test_an_error_before_the_first_item_is_raised_too() -> None:
    def failing() -> Iterator[int]:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        next(prefetch(failing))


@pytest.mark.parametrize("how", ["close", "drop", "error"])
def test_a_consumer_that_stops_stops_the_producer(how: str) -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    def consume() -> None:
        stream = prefetch(endless, ahead=2)
        next(stream)
        if how == "close":
            stream.close()  # type: ignore[attr-defined]
        if how == "error":
            raise ZeroDivisionError

    if how == "error":
        with pytest.raises(ZeroDivisionError):
            consume()
    else:
        consume()
    gc.collect()
    until(lambda: closed.is_set() and workers() == 0)


def test_a_program_that_ends_in_the_middle_ends_cleanly() -> None:
    script = """
import itertools, torch
from plmsae.sae.prefetch import prefetch
work = lambda _: torch.randn(200, 200) @ torch.randn(200, 200)
stream = prefetch(lambda: map(work, itertools.count()))
next(stream)
print("ok")
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_stalls_are_measured_for_a_slow_producer_and_not_for_a_slow_consumer() -> None:
    def slow() -> Iterator[int]:
        for i in range(12):
            time.sleep(0.02)
            yield i

    waiting = Stalls()
    list(prefetch(slow, stalls=waiting))

    busy = Stalls()
    for _ in prefetch(lambda: range(12), stalls=busy):
        time.sleep(0.02)

    # Near 1 and near 0 on an idle machine; a busy one blurs both, but never their order.
    assert busy.share < 0.5 < waiting.share
    assert 0 < waiting.first < waiting.waited


def test_a_model_run_ahead_records_no_gradients() -> None:
    weight = torch.ones(3, requires_grad=True)
    assert not any(x.requires_grad for x in prefetch(lambda: (weight * i for i in range(3))))


def test_nothing_starts_before_it_is_asked_for() -> None:
    prefetch(lambda: range(3))
    assert workers() == 0
    with pytest.raises(ValueError, match="ahead"):
        prefetch(lambda: range(3), ahead=0)


def test_prefetched_batches_are_the_same_from_any_step(planted: Planted) -> None:
    source = PrefetchedBatches(planted)
    for step in (0, 5):
        stream = source.iter_from(step)
        for i, batch in enumerate(islice(stream, 4)):
            assert torch.equal(batch, planted.batch(step + i))
        stream.close()  # type: ignore[attr-defined]
    assert source.stalls.elapsed > 0


def test_training_on_prefetched_batches_gives_the_same_weights_and_leaves_no_thread(
    planted: Planted,
) -> None:
    config, settings = SaeConfig(d_in=16, d_sae=32, k=2), TrainConfig(steps=20, batch_size=256)
    plain = train(planted, config, settings).sae
    ahead = train(PrefetchedBatches(planted), config, settings).sae
    assert torch.equal(plain.W_enc_FD, ahead.W_enc_FD)
    gc.collect()
    until(lambda: workers() == 0)
