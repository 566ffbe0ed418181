"""What tests of pages in a real browser share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")

AXE = Path(__file__).resolve().parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"

THEMES = ["light", "dark"]


@contextmanager
def chromium() -> Iterator[Any]:
    """Run Chromium without a screen."""
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@contextmanager
def quiet_page(browser: Any, **options: Any) -> Iterator[Any]:
    """Open a page; fail if a script failed, the policy blocked something or a dialog came."""
    opened = browser.new_page(**options)
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    opened.on("dialog", lambda dialog: problems.append(dialog.message))
    yield opened
    opened.close()
    assert problems == [], problems


def framed(page: Any, text: str) -> Any:
    """Show a page as MLflow shows an artifact: from memory, in a frame that may run scripts."""
    page.set_content("<iframe sandbox='allow-scripts' width=1000 height=450></iframe>")
    page.evaluate(
        "t => document.querySelector('iframe').src ="
        " URL.createObjectURL(new Blob([t], {type: 'text/html'}))",
        text,
    )
    return page.frame_locator("iframe")


def barriers(page: Any) -> list[str]:
    """Return what axe-core finds serious or critical on a page, each with its element."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed (make frontend-packages)")
    page.evaluate(AXE.read_text())
    # Without preload it does not fetch style sheets, which a page opened from a file may not.
    found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
    return [
        f"{rule['id']}: {node['html'][:300]}: {node['failureSummary']}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def is_wider_than(page: Any, width: int) -> bool:
    """Tell whether a page must be scrolled sideways at a width."""
    page.set_viewport_size({"width": width, "height": 800})
    page.wait_for_timeout(150)
    return bool(page.evaluate("document.documentElement.scrollWidth") > width)
