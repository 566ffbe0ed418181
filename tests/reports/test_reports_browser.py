"""The page of feature reports in a real browser, as it opens from a file and in MLflow's frame."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_reports_render import some_reports

from plmsae.reports.render import render_reports

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")

IN_VIEW = """e => { const box = e.getBoundingClientRect(); return box.top > -5 && box.top < 60; }"""


@pytest.fixture
def page() -> Iterator[Any]:
    """Return a page that fails the test if the browser complained."""
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = running.new_page(viewport={"width": 1100, "height": 500}, reduced_motion="reduce")
        problems: list[str] = []
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        yield opened
        running.close()
        assert problems == []


def test_links_of_the_index_work_in_the_frame_that_mlflow_gives_the_page(
    page: Any, tmp_path: Path
) -> None:
    text = render_reports(some_reports(), tmp_path, about={"model": "m"})["html"].read_text()
    page.set_content("<iframe sandbox='allow-scripts' width=1000 height=450></iframe>")
    page.evaluate(
        "t => document.querySelector('iframe').src ="
        " URL.createObjectURL(new Blob([t], {type: 'text/html'}))",
        text,
    )
    frame = page.frame_locator("iframe")
    frame.locator("#index a").nth(1).click()
    section = frame.locator("#feature-1")
    section.wait_for()
    page.wait_for_timeout(200)
    assert section.evaluate(IN_VIEW)


def test_a_link_of_the_index_is_the_address_of_the_feature(page: Any, tmp_path: Path) -> None:
    path = render_reports(some_reports(), tmp_path, about={"model": "m"})["html"]
    page.goto(path.as_uri())
    page.locator("#index a").nth(1).click()
    page.wait_for_timeout(200)
    assert page.url.endswith("#feature-1")
    assert page.locator("#feature-1").evaluate(IN_VIEW)


def test_a_report_is_no_wider_than_a_telephone(page: Any, tmp_path: Path) -> None:
    path = render_reports(some_reports(), tmp_path, about={"model": "m"})["html"]
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
