"""score and fill, killed at random moments: given again, they leave what an undisturbed run leaves.

The loop is that of the benchmark, which does the same for every command and as often as asked.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from benchmark_scripts import load_benchmark


@pytest.fixture(scope="module")
def kills() -> Any:
    return load_benchmark("kills")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["score", "fill"])
def test_a_killed_run_ends_as_if_nothing_had_happened(
    name: str, kills: Any, tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    kills.world(tmp_path, 30)
    row = kills.torment(kills.COMMANDS[name], tmp_path, 1, seed)
    assert row.failures == [], f"seed {seed}"
