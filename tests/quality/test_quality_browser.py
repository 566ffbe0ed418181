"""The quality page in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_pages import NEEDS_CHROMIUM, THEMES, barriers, framed, is_wider_than, quiet_page
from test_quality_validation import CONCEPTS, HOSTILE, PROTEINS, annotations, check

pytestmark = NEEDS_CHROMIUM


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    with quiet_page(browser) as opened:
        yield opened


def summary(folder: Path) -> str:
    """Return the address of a page with things that failed, and a name that tries to be markup."""
    frame = annotations(concept=[HOSTILE, "Active site", "Domain: SH3"], start=[0, 1, 1])
    report = check("annotations", frame, folder, proteins=PROTEINS, concepts=CONCEPTS)
    assert not report.success
    return str(report.summary_path.as_uri())


def test_a_failed_check_is_named_and_a_hostile_name_is_text(page: Any, tmp_path: Path) -> None:
    page.goto(summary(tmp_path))
    text = page.text_content("body")
    assert HOSTILE in text
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1  # its own
    assert page.locator("h1").count() == 1


def test_links_of_the_page_lead_to_pages_that_are_there(page: Any, tmp_path: Path) -> None:
    page.goto(summary(tmp_path))
    links = [a.get_attribute("href") for a in page.locator("a[href]").all()]
    assert links
    for link in links:
        if not link.startswith("#"):
            assert (tmp_path / link).is_file()


def test_in_the_frame_of_mlflow_no_link_leads_nowhere(page: Any, tmp_path: Path) -> None:
    summary(tmp_path)
    frame = framed(page, (tmp_path / "summary.html").read_text())
    frame.get_by_text("validation.json beside this page").wait_for()
    assert frame.locator("a[href]").count() == 0


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_serious(page: Any, tmp_path: Path, theme: str) -> None:
    page.emulate_media(color_scheme=theme)
    page.goto(summary(tmp_path))
    assert barriers(page) == []


def test_a_quality_page_is_no_wider_than_a_telephone(page: Any, tmp_path: Path) -> None:
    page.goto(summary(tmp_path))
    assert not is_wider_than(page, 400)
