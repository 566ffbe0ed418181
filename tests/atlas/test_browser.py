"""The site in a real browser, as it opens from a file, from a server and in MLflow's frame."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from atlas_pages import PAGES, accession, open_page, sequence_of, unpack, url
from atlas_world import CLAIM, TITLE
from browser_pages import NEEDS_CHROMIUM, THEMES, barriers, is_wider_than

from plmsae.atlas.chunks import chunk_script, pack
from plmsae.atlas.serve import AtlasServer

pytestmark = NEEDS_CHROMIUM


def test_search_finds_concepts_and_opens_a_latent_by_keyboard(page: Any, world: Path) -> None:
    page.goto(url(world))
    page.wait_for_selector("main h1")
    page.keyboard.press("/")
    page.keyboard.type("kinase")
    page.wait_for_selector("#hits li")
    assert "Domain: Kinase" in page.text_content("#hits li")
    page.keyboard.press("Enter")
    page.wait_for_url("**#/latent/0")
    page.wait_for_selector(".strip rect")
    assert (
        page.text_content(".panel:has(h2:text-is('Concepts')) [role=cell] .concept")
        == "Domain: Kinase"
    )


def test_other_methods_stand_beside_a_latents_concepts(page: Any, world: Path) -> None:
    def row(hash: str, table: str) -> dict[str, str]:
        page.goto("about:blank")
        page.goto(url(world, hash))
        page.wait_for_selector(f"[aria-label='{table}'] [role=cell]")
        first = page.locator(f"[aria-label='{table}'] .row").nth(1)
        heads = page.locator(f"[aria-label='{table}'] [role=columnheader]").all_text_contents()
        return dict(zip(heads, first.locator("[role=cell]").all_text_contents(), strict=True))

    kinase = row("#/latent/0", "latent 0 concepts")
    # Calling every residue of one kind; not the latent among residues of that kind (0.11).
    assert (kinase["neurons"], kinase["amino acid"]) == ("0.61", "0.32")
    assert "best hit" not in kinase  # it was not measured
    sh3 = row("#/latent/1", "latent 1 concepts")
    assert (sh3["neurons"], sh3["amino acid"]) == ("–", "0.21")
    assert row("#/concepts", "concepts")["neurons"] == "0.61"


def test_a_written_report_is_on_the_page_with_its_score(page: Any, world: Path) -> None:
    report = json.loads((world / "report" / "report.json").read_text())["features"][0]
    latent = report["evidence"]["latent"]
    page.goto(url(world, f"#/latent/{latent}"))
    page.wait_for_selector(".strip rect")
    lead = page.text_content(".lead")
    assert page.text_content("h1") == TITLE
    assert f"{CLAIM} ({latent})" in lead
    assert report["description"] in lead
    assert f"erified (r {report['r']:.2f}" in lead
    assert "Written by claude-sonnet-5-5." in lead


def test_search_finds_the_words_of_a_claim(page: Any, world: Path) -> None:
    page.goto(url(world))
    page.wait_for_selector("main h1")
    page.fill(".search input", "helices SOLVENT")
    page.wait_for_selector("#hits li")
    hits = page.locator("#hits li:has(em:text-is('latent'))")
    assert hits.count() == 2
    assert CLAIM in hits.first.text_content()
    page.keyboard.press("Enter")
    page.wait_for_url("**#/latent/0")
    page.goto(url(world, "#/?find=amphipathic+helices"))  # one word of the title, one of the claim
    page.wait_for_selector("[aria-label=latents] [role=cell]")
    assert page.locator("[aria-label=latents] .row:not(.head)").count() == 2


def test_proposals_are_drawn_and_listed_with_their_precision(page: Any, world: Path) -> None:
    proposals = pl.read_parquet(world / "fill" / "proposals" / "part-00000.parquet")
    accession = proposals["accession"][0]
    mine = proposals.filter(accession=accession).sort("start", "end", "concept")
    page.goto(url(world, f"#/protein/{accession}"))
    page.wait_for_selector(".tracks rect")
    group = page.locator(".tracks g:has(> text.side-label:text-is('proposals'))")
    assert group.locator("g").count() == mine.height
    assert "precision" in group.locator("g title").first.text_content()
    table = page.locator(f"[aria-label='{accession} proposals']")
    assert table.get_attribute("aria-rowcount") == str(mine.height)
    rows = table.locator(".row:not(.head)")
    first = mine.row(0, named=True)
    cells = rows.first.locator("[role=cell]").all_text_contents()
    assert cells[:4] == [
        first["concept"],
        str(first["start"]),
        str(first["end"]),
        f"{first['precision']:.2f}",
    ]


def test_a_click_on_the_map_opens_a_latent(page: Any, world: Path) -> None:
    page.goto(url(world, "#/?latents=0"))
    canvas = page.wait_for_selector("canvas")
    box = canvas.bounding_box()
    script = (world / "site" / "data" / "index.js").read_text()
    index = unpack(json.loads(f"[{script[6:-3]}]")[1])
    x, y = (index["latents"][name][0] / 10_000 for name in "xy")
    page.mouse.move(
        box["x"] + 18 + x * (box["width"] - 36), box["y"] + 18 + (1 - y) * (box["height"] - 36)
    )
    page.wait_for_selector(".hover .big")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector(".crumb")


def test_a_hostile_protein_name_is_shown_as_text(page: Any, world: Path) -> None:
    page.goto(url(world, f"#/protein/{accession(world)}"))
    page.wait_for_selector(".tracks rect")
    assert page.text_content("h1").startswith("</script><script>")
    assert page.title() != "owned"
    assert page.locator("main img").count() == 0


def test_a_pasted_sequence_finds_the_protein_it_is_from(page: Any, world: Path) -> None:
    page.goto(url(world))
    page.fill(".search input", sequence_of(world)[3:90])
    page.keyboard.press("Enter")
    page.wait_for_selector(".tracks rect")
    third = (world / "proteins.tsv").read_text().splitlines()[3].split("\t")[0]
    assert page.text_content("[aria-label='similar proteins'] [role=cell]") == third


def test_the_served_page_asks_the_model(page: Any, world: Path) -> None:
    from plmsae.registry.models import resolve_exactly
    from plmsae.scoring.encoding import load_encoder
    from plmsae.workflows.atlas import score_sequence

    made = json.loads((world / "site" / "atlas.json").read_text())
    bundle, uri = resolve_exactly(made["model"])
    encoder = load_encoder(bundle)
    server = AtlasServer(
        world / "site", lambda s: score_sequence(s, bundle, uri, encoder, 0.0, 20), port=0
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        page.goto(f"{server.url}#/sequence")
        page.fill("textarea", "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ")
        page.click("button.primary")
        page.wait_for_selector(".tracks .feature")
        assert page.locator(".lines .letter").count() == 33
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_comparing_shows_what_is_gained(page: Any, world: Path) -> None:
    page.goto(url(world, "#/compare/0?change=only+here"))
    page.wait_for_selector("[aria-label='matched latents'] [role=cell]")
    assert page.locator("[aria-label='concepts compared'] .row:not(.head)").count() == 1


def test_a_structure_is_drawn(page: Any, world: Path) -> None:
    page.goto(url(world, f"#/protein/{accession(world)}"))
    page.wait_for_selector(".viewer canvas", timeout=20_000)
    assert page.locator(".structure .problem").count() == 0


def test_the_single_file_works_in_the_frame_that_mlflow_gives_it(page: Any, world: Path) -> None:
    text = (world / "site" / "atlas.html").read_text()
    page.set_content("<iframe sandbox='allow-scripts' width=1200 height=800></iframe>")
    page.evaluate(
        "t => document.querySelector('iframe').src ="
        " URL.createObjectURL(new Blob([t], {type: 'text/html'}))",
        text,
    )
    frame = page.frame_locator("iframe")
    frame.locator("main h1").wait_for()
    frame.locator(".row a").first.click()
    frame.locator(".strip rect").first.wait_for()
    assert frame.get_by_text("CSV", exact=True).count() == 0  # this frame may not save


@pytest.mark.parametrize("hash", PAGES)
def test_nothing_is_wider_than_a_telephone(page: Any, world: Path, hash: str) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    open_page(page, world, hash)
    assert not is_wider_than(page, 400)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("hash", PAGES)
def test_axe_finds_nothing_serious(page: Any, world: Path, hash: str, theme: str) -> None:
    page.emulate_media(color_scheme=theme)
    open_page(page, world, hash)
    assert barriers(page) == []


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_serious_while_searching(page: Any, world: Path, theme: str) -> None:
    page.emulate_media(color_scheme=theme)
    open_page(page, world, "#/")
    page.fill(".search input", "kinase")
    page.wait_for_selector("#hits li")
    assert barriers(page) == []


def test_dark_mode_follows_the_system_and_the_button(page: Any, world: Path) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(url(world))
    page.wait_for_selector("main h1")
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "dark"
    page.click("button.theme")
    assert page.evaluate(theme) == "light"


def test_every_control_has_a_name(page: Any, world: Path) -> None:
    for hash in ("#/", "#/latent/0", f"#/protein/{accession(world)}"):
        page.goto(url(world, hash))
        page.wait_for_selector("main h1")
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, a, input, select, textarea, [role=img]')]"
            ".filter(e => !(e.getAttribute('aria-label') || e.textContent.trim()"
            " || e.labels?.length))"
            ".map(e => e.outerHTML)"
        )
        assert nameless == []


def test_ten_thousand_latents_open_in_two_seconds(page: Any, world: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(world / "site", site)
    script = (site / "data" / "index.js").read_text()
    index = unpack(json.loads(f"[{script[6:-3]}]")[1])
    n = 10_000
    for name, column in index["latents"].items():
        index["latents"][name] = [column[i % len(column)] for i in range(n)]
    index["latents"]["x"] = [(7919 * i) % 10_000 for i in range(n)]
    index["latents"]["y"] = [(104_729 * i) % 9973 for i in range(n)]
    (site / "data" / "index.js").write_text(chunk_script("index", pack(index)))
    page.goto("about:blank")
    start = time.process_time(), time.monotonic()
    page.goto((site / "index.html").as_uri())
    page.wait_for_selector("[aria-label=latents] .row:nth-child(4)")
    assert time.monotonic() - start[1] < 8  # 2 s where nothing else runs
    assert page.locator("[aria-label=latents] .row").count() < 60  # only those in view are drawn
    page.evaluate("document.querySelector('[aria-label=latents]').scrollTop = 200000")
    page.wait_for_timeout(150)
    assert page.locator("[aria-label=latents] .row").count() < 60
