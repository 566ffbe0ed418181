"""Every block of Python in the documents runs, in order, as it is printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
PAGES = {
    path.relative_to(ROOT).as_posix(): BLOCK.findall(path.read_text(encoding="utf-8"))
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
}
PAGES = {page: blocks for page, blocks in PAGES.items() if blocks}

ELSEWHERE = {
    ("docs/add-a-plm.md", "class Electra"): "tests/plm/families/test_add_a_family.py",
    ("docs/registry.md", "create_webhook"): "tests/registry/test_mlflow_servers.py",
    ("docs/scale.md", "spark_udf"): "tests/documents/test_documented_spark.py",
}
"""Page and what only its block says → the test that runs it: as a module of the package, with an
MLflow server that is heard, in a Spark session. No block needs a GPU or a key."""

LIBRARIES = {"duckdb"}
"""What a block may import that is no dependency: it is skipped where that is not installed."""


def elsewhere(page: str, block: str) -> str | None:
    tests = [test for (of, part), test in ELSEWHERE.items() if of == page and part in block]
    return tests[0] if tests else None


@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_blocks_of_a_page_run_in_order(page: str, inside: Path) -> None:
    names: dict[str, Any] = {}
    for block in PAGES[page]:
        if elsewhere(page, block):
            continue
        for library in LIBRARIES & set(re.findall(r"^import (\w+)", block, re.MULTILINE)):
            pytest.importorskip(library)
        exec(compile(block, page, "exec"), names)


def test_what_is_run_elsewhere_exists_and_is_read_from_the_page() -> None:
    for (page, part), test in ELSEWHERE.items():
        assert [part in block for block in PAGES[page]].count(True) == 1, (page, part)
        source = (ROOT / test).read_text(encoding="utf-8")
        assert Path(page).name in source, test
        assert "exec" in source, test


def test_the_page_of_steering_has_an_effect_to_show(inside: Path) -> None:
    names: dict[str, Any] = {}
    (block,) = PAGES["docs/steering.md"]
    exec(compile(block, "docs/steering.md", "exec"), names)
    assert names["table"].height > 0
