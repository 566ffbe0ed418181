"""Commands, killed at random moments: given again, they leave what an undisturbed run leaves.

The loop is that of the benchmark, which does the same for every command and as often as asked.
"""

from __future__ import annotations

import random
from pathlib import Path

import kills
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("name", list(kills.COMMANDS))
def test_a_killed_run_ends_as_if_nothing_had_happened(name: str, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    kills.write_proteins(tmp_path, 30)
    row = kills.kill_repeatedly(kills.COMMANDS[name], tmp_path, 20, seed)
    assert row.failures == [], f"seed {seed}"
