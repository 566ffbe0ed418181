"""A first signal is noted, a second one ends the work: of this process, and of a real child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from plmsae.core.stopping import Terminated, sigterm_unwinds, stop_requests


@pytest.fixture(autouse=True)
def _interrupts_are_heard():
    """Undo what a shell does to programs in the background: it lets them ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "raised"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)],
)
def test_the_first_signal_is_noted_and_the_second_ends_the_work(
    number: signal.Signals, raised: type[BaseException]
) -> None:
    with sigterm_unwinds(), stop_requests() as stop:
        assert not stop.received
        os.kill(os.getpid(), number)
        assert stop.received
        with pytest.raises(raised, match=r"^step 3 is kept; the same command goes on from there$"):
            stop.stop("step 3 is kept")
        with pytest.raises(raised):
            os.kill(os.getpid(), number)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_that_others_set_is_left_alone() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with sigterm_unwinds(), stop_requests() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert heard == [signal.SIGTERM]
            assert not stop.received
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_second_sigterm_ends_a_process_that_does_not_come_to_a_boundary() -> None:
    code = (
        "import time\n"
        "from plmsae.core.stopping import stop_requests\n"
        "with stop_requests() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while not stop.received:\n"
        "        time.sleep(0.01)\n"
        "    print('noted', flush=True)\n"
        "    time.sleep(600)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert child.stdout is not None
    for expected in ("ready\n", "noted\n"):
        assert child.stdout.readline() == expected
        child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == -signal.SIGTERM
