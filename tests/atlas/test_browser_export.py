"""What the pages save: files that arrive, are valid, and hold names as they are."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from atlas_pages import accession, index_of_site, url
from atlas_world import FORMULA, HOSTILE, HOSTILE_LABEL
from browser_pages import NEEDS_CHROMIUM
from PIL import Image

pytestmark = NEEDS_CHROMIUM

SVG = "{http://www.w3.org/2000/svg}"


def saved(page: Any, selector: str) -> tuple[str, Path]:
    """Click, and return the name that is suggested for the file and where it is."""
    with page.expect_download() as download:
        page.locator(selector).first.click()
    return download.value.suggested_filename, Path(download.value.path())


def check_png(path: Path) -> None:
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        assert min(image.size) > 10
        assert len(image.convert("RGB").getcolors(10**7)) > 5  # something is drawn


def test_a_table_is_saved_with_names_as_they_are_and_never_as_formulas(
    page: Any, world: Path
) -> None:
    page.goto(url(world, "#/proteins?sort.proteins=length"))
    name, path = saved(page, "text=CSV")
    assert name == "proteins.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    proteins = index_of_site(world)["proteins"]
    assert sorted(row["accession"] for row in rows) == sorted(proteins["accession"])
    assert [int(row["length"]) for row in rows] == sorted(proteins["length"])  # in the order shown
    descriptions = {row["description"] for row in rows}
    assert HOSTILE in descriptions
    assert f"'{FORMULA}" in descriptions  # a spreadsheet reads it as text


def test_a_picture_is_saved_as_svg_and_png_with_names_escaped(page: Any, world: Path) -> None:
    page.goto(url(world, f"#/protein/{accession(world)}"))
    page.wait_for_selector(".tracks rect")
    name, path = saved(page, ".tracks figcaption >> text=SVG")
    assert name == f"{accession(world)}-features.svg"
    root = ElementTree.parse(path).getroot()
    assert root.tag == f"{SVG}svg"
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert any(HOSTILE_LABEL in str(title) for title in titles)
    assert root.find(f".//{SVG}b") is None
    assert len(list(root.iter(f"{SVG}rect"))) > 20
    fills = {rect.get("fill") for rect in root.iter(f"{SVG}rect")}
    assert len(fills) > 3  # the style sheet is not needed to see it
    name, path = saved(page, ".tracks figcaption >> text=PNG")
    assert name == f"{accession(world)}-features.png"
    check_png(path)


def test_strips_and_histograms_are_saved(page: Any, world: Path) -> None:
    page.goto(url(world, "#/latent/0"))
    page.wait_for_selector(".strip rect")
    _, path = saved(page, ".strip figcaption >> text=SVG")
    letters = [text.text for text in ElementTree.parse(path).getroot().iter(f"{SVG}text")]
    assert "".join(str(t) for t in letters if str(t).isalpha())
    _, path = saved(page, ".strip figcaption >> text=PNG")
    check_png(path)
    name, path = saved(page, "figure:has(svg[aria-label='Histogram of activations']) >> text=PNG")
    assert name == "latent-0-activations.png"
    check_png(path)


def test_the_map_is_saved_with_all_its_latents(page: Any, world: Path) -> None:
    page.goto(url(world))
    page.wait_for_selector("[aria-label=latents] [role=cell]")
    name, path = saved(page, "[aria-label='Save the map as SVG']")
    assert name == "map.svg"
    circles = list(ElementTree.parse(path).getroot().iter(f"{SVG}circle"))
    x = index_of_site(world)["latents"]["x"]
    assert {int(c[0].text) for c in circles} == {i for i, place in enumerate(x) if place >= 0}
    name, path = saved(page, "[aria-label='Save the map as PNG']")
    assert name == "map.png"
    check_png(path)
