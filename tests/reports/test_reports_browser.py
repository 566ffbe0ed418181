"""The page of feature reports in a real browser, as it opens from a file and in MLflow's frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_pages import NEEDS_CHROMIUM, THEMES, barriers, framed, is_wider_than, quiet_page
from test_reports_render import NAMED, some_reports

from plmsae.reports.render import render_reports

pytestmark = NEEDS_CHROMIUM

IN_VIEW = """e => { const box = e.getBoundingClientRect(); return box.top > -5 && box.top < 60; }"""


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    size = {"width": 1100, "height": 500}
    with quiet_page(browser, viewport=size, reduced_motion="reduce") as opened:
        yield opened


def test_links_of_the_index_work_in_the_frame_that_mlflow_gives_the_page(
    page: Any, tmp_path: Path
) -> None:
    text = render_reports(some_reports(), tmp_path, about={"model": "m"})["html"].read_text()
    frame = framed(page, text)
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
    path = render_reports(some_reports(**NAMED), tmp_path, about={"model": "m"})["html"]
    for one in (path, tmp_path / "features" / "0.html"):
        page.goto(one.as_uri())
        assert not is_wider_than(page, 400)
        cell = page.locator("td.protein").first
        for text in ("GTPase HRas", "Homo sapiens", "GO:0000165"):
            words = cell.get_by_text(text)
            assert words.is_visible()
            box = words.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 400  # read without scrolling the table


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_serious(page: Any, tmp_path: Path, theme: str) -> None:
    path = render_reports(some_reports(), tmp_path, about={"model": "m"})["html"]
    page.emulate_media(color_scheme=theme)
    for one in (path, tmp_path / "features" / "0.html"):
        page.goto(one.as_uri())
        for unfold in page.locator("summary").all():
            unfold.click()
        assert barriers(page) == []


def shown_rows(page: Any) -> list[str]:
    return page.locator("#index tbody tr:visible td:first-child").all_text_contents()


def test_the_index_searches_titles_claims_concepts_and_accessions(
    page: Any, tmp_path: Path
) -> None:
    path = render_reports(some_reports(), tmp_path, about={"model": "m"})["html"]
    page.goto(path.as_uri())
    assert len(shown_rows(page)) == 3
    page.fill("#search", "P-LOOP motif")
    assert shown_rows(page) == ["0"]
    assert page.text_content("#found") == "1 of 3"
    assert page.locator("section:visible").count() == 1
    page.fill("#search", "LOOKED at")
    assert shown_rows(page) == ["2"]
    page.fill("#search", "")
    assert len(shown_rows(page)) == page.locator("section:visible").count() == 3


def test_the_index_sorts_by_numbers_and_by_words_with_mouse_and_keys(
    page: Any, tmp_path: Path
) -> None:
    path = render_reports(some_reports(), tmp_path, about={"model": "m"})["html"]
    page.goto(path.as_uri())

    def head(name: str) -> Any:
        return page.locator("#index th", has_text=name)

    head("feature").locator("button").click()
    assert shown_rows(page) == ["0", "1", "2"]
    assert head("feature").get_attribute("aria-sort") == "ascending"
    head("feature").locator("button").press("Enter")
    assert shown_rows(page) == ["2", "1", "0"]
    assert head("feature").get_attribute("aria-sort") == "descending"
    head("F1").locator("button").click()
    head("F1").locator("button").click()
    assert shown_rows(page)[0] == "0"  # the only one with a concept
    assert head("feature").get_attribute("aria-sort") is None
    head("what").locator("button").click()
    titles = page.locator("#index tbody td:nth-child(2)").all_text_contents()
    assert titles == sorted(titles, key=str.lower)


@pytest.mark.parametrize("theme", THEMES)
def test_pages_follow_the_theme_of_the_system(page: Any, tmp_path: Path, theme: str) -> None:
    path = render_reports(some_reports(), tmp_path, about={"model": "m"})["html"]
    page.emulate_media(color_scheme=theme)
    for one in (path, tmp_path / "features" / "0.html"):
        page.goto(one.as_uri())
        colours = page.evaluate(
            "['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name]"
            ".match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0))"
        )
        background, ink = colours
        assert (background < ink) == (theme == "dark")


def test_the_page_of_one_feature_stands_alone(page: Any, tmp_path: Path) -> None:
    reports = some_reports()
    render_reports(reports, tmp_path, about={"model": "m"})
    page.goto((tmp_path / "features" / "0.html").as_uri())
    assert page.locator("section").count() == 1
    assert page.text_content("section h2") == reports[0].title
    assert page.text_content(".lead") == reports[0].claim
    assert page.locator("#index, script").count() == 0
    assert page.locator(".seq").first.is_visible()
