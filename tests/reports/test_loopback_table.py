"""The table of the machinery that asks Claude, in the docs, is the one that a run makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from loopback_table import table

RESULTS = Path(__file__).parents[2] / "docs" / "results.md"


@pytest.mark.slow
def test_the_table_in_the_docs_is_made_by_a_run() -> None:
    assert table() in RESULTS.read_text(encoding="utf-8")
