"""score, fill and train, killed at random moments: given again, they end as if undisturbed."""

from __future__ import annotations

from pathlib import Path

import pytest
from random_kills import kill_twenty_times


@pytest.mark.slow
@pytest.mark.parametrize("name", ["score", "fill", "train"])
def test_a_killed_run_ends_as_if_nothing_had_happened(name: str, tmp_path: Path) -> None:
    kill_twenty_times(name, tmp_path)
