"""A first signal is noted, a second one ends the work: of this process, and of a real child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: libraries that other tests use leave handlers of their own behind.
ROOT = str(Path(__file__).resolve().parents[2])
START = (
    "import os, signal\n"
    "from plmsae.core.stopping import Terminated, sigterm_unwinds, stop_requests\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
)


def ends_well(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START + code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("number", "raised"), [("SIGINT", "KeyboardInterrupt"), ("SIGTERM", "Terminated")]
)
def test_the_first_signal_is_noted_and_the_second_ends_the_work(number: str, raised: str) -> None:
    ends_well(
        "with sigterm_unwinds(), stop_requests() as stop:\n"
        "    assert not stop.received\n"
        f"    os.kill(os.getpid(), signal.{number})\n"
        "    assert stop.received\n"
        "    try:\n"
        "        stop.stop('step 3 is kept')\n"
        f"    except {raised} as error:\n"
        "        assert str(error) == 'step 3 is kept; the same command continues from there'\n"
        "    else:\n"
        "        raise AssertionError('it did not stop')\n"
        "    try:\n"
        f"        os.kill(os.getpid(), signal.{number})\n"
        f"    except {raised}:\n"
        "        pass\n"
        "    else:\n"
        "        raise AssertionError('the second signal was not raised')\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
    )


def test_a_handler_that_others_set_is_left_alone() -> None:
    ends_well(
        "heard = []\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))\n"
        "with sigterm_unwinds(), stop_requests() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    assert heard == [signal.SIGTERM]\n"
        "    assert not stop.received\n"
    )


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
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert child.stdout is not None
    for expected in ("ready\n", "noted\n"):
        assert child.stdout.readline() == expected
        child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == -signal.SIGTERM
