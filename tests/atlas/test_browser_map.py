"""The map and the tables in a real browser: zoom, selection, colours, filters, order, and links."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from atlas_pages import index_of_site, url
from browser_pages import NEEDS_CHROMIUM

pytestmark = NEEDS_CHROMIUM

PAD = 18  # pixels around the map


class Map:
    """The map on a page, and where its latents are while all of it is shown."""

    def __init__(self, page: Any, world: Path, hash: str = "#/") -> None:
        self.page = page
        self.latents = index_of_site(world)["latents"]
        self.patterns = index_of_site(world)["patterns"]
        page.goto("about:blank")
        page.goto(url(world, hash))
        page.wait_for_selector("[aria-label=latents] [role=cell]")
        self.box = page.locator(".map canvas").bounding_box()

    def share(self, latent: int) -> tuple[float, float]:
        """Return the place of a latent as shares of the width and the height."""
        w, h = self.box["width"], self.box["height"]
        x, y = (self.latents[axis][latent] / 10_000 for axis in "xy")
        return (PAD + x * (w - 2 * PAD)) / w, (PAD + (1 - y) * (h - 2 * PAD)) / h

    def pixel(self, u: float, v: float) -> tuple[float, float]:
        return self.box["x"] + u * self.box["width"], self.box["y"] + v * self.box["height"]

    def hovered_at(self, x: float, y: float) -> int | None:
        """Return the latent that the page names when the mouse is at a pixel of the page."""
        self.page.mouse.move(self.box["x"] + 2, self.box["y"] + 2)
        self.page.mouse.move(x, y)
        self.page.wait_for_timeout(50)
        number = self.page.locator(".hover .number")
        return int(number.text_content()) if number.count() else None

    def query(self) -> dict[str, str]:
        self.page.wait_for_timeout(300)  # the address follows a moment later
        text = self.page.url.partition("#/?")[2]
        return {name: values[0] for name, values in parse_qs(text).items()}

    def colour_at(self, latent: int) -> list[int]:
        """Return the colour of the pixel at a latent."""
        u, v = self.share(latent)
        return self.page.evaluate(
            "([u, v]) => { const c = document.querySelector('.map canvas');"
            " return [...c.getContext('2d').getImageData(u * c.width, v * c.height, 1, 1).data]; }",
            [u, v],
        )

    def rows(self) -> list[int]:
        return [int(text) for text in self.page.locator(".row .number").all_text_contents()]

    def alive(self) -> list[int]:
        return [i for i, x in enumerate(self.latents["x"]) if x >= 0]


def farthest(shown: Map) -> int:
    """Return the latent that is farthest from its nearest neighbour: it can be hit safely."""

    def room(i: int) -> float:
        u, v = shown.share(i)
        others = (shown.share(j) for j in shown.alive() if j != i)
        return min((u - a) ** 2 + (v - b) ** 2 for a, b in others)

    return max(shown.alive(), key=room)


def test_the_wheel_zooms_at_the_pointer_and_the_link_shows_the_same_place(
    page: Any, world: Path
) -> None:
    shown = Map(page, world)
    latent = farthest(shown)
    x, y = shown.pixel(*shown.share(latent))
    assert shown.hovered_at(x, y) == latent
    page.mouse.wheel(0, -300)
    page.mouse.wheel(0, -300)
    assert shown.hovered_at(x, y) == latent  # what is under the pointer stays there
    view = shown.query()["view"]
    assert float(view.split(",")[0]) == pytest.approx(2.71828**2, rel=0.01)
    again = Map(page, world, f"#/?view={view}")
    assert again.hovered_at(x, y) == latent
    assert again.hovered_at(x + 60, y + 60) != latent


def test_a_link_to_a_place_shows_it_in_the_middle_whatever_the_size(page: Any, world: Path) -> None:
    for width in (1300, 700):
        page.set_viewport_size({"width": width, "height": 900})
        shown = Map(page, world)
        latent = farthest(shown)
        u, v = shown.share(latent)
        there = Map(page, world, f"#/?view=20,{u},{v}")
        assert there.hovered_at(*there.pixel(0.5, 0.5)) == latent


def test_the_map_is_dragged_and_returns(page: Any, world: Path) -> None:
    shown = Map(page, world)
    latent = farthest(shown)
    u, v = shown.share(latent)
    x, y = shown.pixel(u, v)
    start = shown.pixel(0.5, 0.5)
    by = (80 if u < 0.5 else -80, 60 if v < 0.5 else -60)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + by[0], start[1] + by[1], steps=5)
    page.mouse.up()
    assert shown.hovered_at(x + by[0], y + by[1]) == latent
    assert "view" in shown.query()
    page.click("[aria-label='Whole map']")
    assert shown.hovered_at(x, y) == latent
    assert "view" not in shown.query()


def test_the_map_answers_to_keys(page: Any, world: Path) -> None:
    shown = Map(page, world)
    page.focus(".map canvas")
    page.keyboard.press("+")
    page.keyboard.press("+")
    k, u, v = map(float, shown.query()["view"].split(","))
    assert (k, u, v) == (2.25, 0.5, 0.5)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    _, right, down = map(float, shown.query()["view"].split(","))
    assert right - u == pytest.approx(40 / (2.25 * shown.box["width"]), abs=2e-4)
    assert down - v == pytest.approx(40 / (2.25 * shown.box["height"]), abs=2e-4)
    page.keyboard.press("-")
    assert shown.query()["view"].startswith("1.5,")
    page.keyboard.press("0")
    assert "view" not in shown.query()


def test_the_place_survives_a_change_of_theme_and_a_way_back(page: Any, world: Path) -> None:
    shown = Map(page, world, "#/?view=3,0.4,0.6")
    page.click("button.theme")
    page.wait_for_selector("[aria-label=latents] [role=cell]")
    assert shown.query()["view"] == "3,0.4,0.6"
    page.locator("[aria-label=latents] .row a").first.click()
    page.wait_for_selector(".crumb")
    page.go_back()
    page.wait_for_selector("[aria-label=latents] [role=cell]")
    assert shown.query()["view"] == "3,0.4,0.6"


def test_a_box_selects_the_latents_within_it(page: Any, world: Path) -> None:
    shown = Map(page, world)
    latent = farthest(shown)
    x, y = shown.pixel(*shown.share(latent))
    page.keyboard.down("Shift")
    page.mouse.move(x - 12, y - 12)
    page.mouse.down()
    page.mouse.move(x + 12, y + 12, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    picked = [int(i) for i in shown.query()["latents"].split(",")]
    assert latent in picked
    assert sorted(shown.rows()) == sorted(picked)
    assert "selected" in page.text_content(".tools")
    page.click("text=Show all")
    assert "latents" not in shown.query()
    assert page.text_content(".tools span").startswith(f"{len(shown.alive())} latents")


def test_colours_follow_the_choice_and_the_link(page: Any, world: Path) -> None:
    shown = Map(page, world)
    seen = {}
    for name in ("Concept", "F1", "Density", "Pattern"):
        button = page.locator("[aria-label='Colour by'] button", has_text=name)
        button.click()
        assert shown.query()["colour"] == name.lower()
        assert button.get_attribute("aria-pressed") == "true"
        seen[name] = shown.colour_at(0)
        again = Map(page, world, f"#/?colour={name.lower()}")
        assert again.colour_at(0) == seen[name]
    assert seen["F1"] != seen["Concept"]
    # Latent 0 has the highest F1 (0.9), the last one none: the ends of the ramp differ.
    ramp = Map(page, world, "#/?colour=f1")
    assert ramp.colour_at(0) != ramp.colour_at(ramp.alive()[-1])


def expect_rows(shown: Map, keep: Callable[[int], bool]) -> None:
    expected = [i for i in shown.alive() if keep(i)]
    assert 0 < len(expected) < len(shown.alive())
    assert sorted(shown.rows()) == expected


def test_filters_leave_what_they_say_and_are_in_the_link(page: Any, world: Path) -> None:
    shown = Map(page, world)
    f1, pattern = shown.latents["f1"], shown.patterns[shown.latents["pattern"][0]]
    page.locator("input[type=range]").fill("0.75")
    assert shown.query() == {"f1": "0.75"}
    expect_rows(shown, lambda i: (f1[i] or 0) >= 0.75)
    page.select_option("select >> nth=0", "Domain: SH3")
    assert shown.query() == {"f1": "0.75", "concept": "Domain: SH3"}
    expect_rows(shown, lambda i: i == 1)
    page.click("text=Show all")
    page.select_option("select >> nth=1", pattern)
    assert shown.query() == {"pattern": pattern}
    same = [i for i in shown.alive() if shown.patterns[shown.latents["pattern"][i]] == pattern]
    assert page.text_content(".tools span").startswith(f"{len(same)} latents")
    linked = Map(page, world, "#/?f1=0.75&concept=Domain%3A+SH3")
    assert linked.rows() == [1]
    page.fill("aside input[type=search]", "no such thing")
    assert page.get_by_text("No latent is left").is_visible()


def test_tables_sort_by_a_click_and_by_a_link(page: Any, world: Path) -> None:
    shown = Map(page, world)
    density = shown.latents["density"]
    unsorted = shown.rows()
    head = page.locator("[aria-label=latents] [role=columnheader]", has_text="density")
    for query, order in (("-density", "descending"), ("density", "ascending")):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == order
        assert unquote(shown.query()["sort.latents"]) == query
        values = [density[i] for i in shown.rows()]
        assert values == sorted(values, reverse=order == "descending")
        there = Map(page, world, f"#/?sort.latents={query}")
        assert [density[i] for i in there.rows()] == values
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "none"
    assert shown.rows() == unsorted
    assert "sort.latents" not in shown.query()
    # Other tables of a page keep their own order, by name.
    page.goto(url(world, "#/proteins?sort.proteins=-length"))
    page.wait_for_selector("[aria-label=proteins] [role=cell]")
    lengths = page.locator(
        "[aria-label=proteins] .row [role=cell]:nth-child(3)"
    ).all_text_contents()
    assert [int(n) for n in lengths] == sorted(map(int, lengths), reverse=True)


def test_what_is_unfolded_is_in_the_link(page: Any, world: Path) -> None:
    page.goto(url(world, "#/latent/0"))
    page.wait_for_selector(".strip rect")
    page.locator("text=whole sequence").first.click()
    page.wait_for_selector(".lines .strip")
    assert "whole=" in page.url
    page.reload()
    page.wait_for_selector(".lines .strip")
    page.goto(url(world, "#/compare/0"))
    page.check("text=only each other's best match")
    assert "mutual=1" in page.url
    page.reload()
    page.wait_for_selector("[aria-label='matched latents'] [role=cell]")
    assert page.is_checked("text=only each other's best match")
