"""The loop of benchmarks/kills.py, as often as a test asks.

Each worker of the tests takes whole files, so the commands are tested in several.
"""

from __future__ import annotations

import random
from pathlib import Path

import kills


def kill_twenty_times(name: str, folder: Path) -> None:
    """Kill a command so often; what it leaves equals what an undisturbed run leaves."""
    seed = random.randrange(10**6)
    kills.write_proteins(folder, 30)
    row = kills.kill_repeatedly(kills.COMMANDS[name], folder, 20, seed)
    assert row.failures == [], f"seed {seed}"
