"""Make the pictures of docs/images from the output of a demo.

    make demo
    plmsae atlas plmsae.plmsae-mini.L5.residue --proteins demo-out/proteins/held_back.tsv.gz \
        --reports demo-out/report/report.json --proposals demo-out/fill --compare ready -o atlas
    mlflow ui --backend-store-uri sqlite:///mlflow.db     # in another shell
    python benchmarks/screenshots.py demo-out atlas http://127.0.0.1:5000

Needs playwright (`pip install playwright`) and Chromium on the PATH. Pictures are reduced to 256
colours, so that each stays small. Those that have a name of their own are made by other programs.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"


def main() -> None:
    """Make all pictures."""
    demo, atlas, server = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3]
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        of_mlflow(browser, server.rstrip("/"))
        of_atlas(browser, atlas)
        report = (demo / "report" / "report.html").as_uri()
        page = browser.new_page(viewport={"width": 1100, "height": 760})
        page.goto(report)
        keep(page, "report_index")
        best = json.loads((demo / "report" / "report.json").read_text())["features"][0]
        page.goto(f"{report}#feature-{best['evidence']['latent']}")
        page.wait_for_timeout(1500)  # it scrolls smoothly
        keep(page, "report")
        page.goto((demo / "scores-quality" / "output" / "summary.html").as_uri())
        keep(page, "quality")
        browser.close()


def of_mlflow(browser: Any, server: str) -> None:
    """Show the newest version of the first model of plmsae, and the run that made it."""
    from mlflow import MlflowClient

    client = MlflowClient(server)
    version = client.search_model_versions("name LIKE 'plmsae.%'", max_results=1)[0]
    experiment = client.get_run(version.run_id).info.experiment_id
    page = browser.new_page(viewport={"width": 1350, "height": 1150})
    for name, address, there in (
        (
            "registry_version",
            f"models/{version.name}/versions/{version.version}",
            "What it calls",
        ),
        ("registry_run", f"experiments/{experiment}/runs/{version.run_id}", "About this run"),
    ):
        page.goto(f"{server}/#/{address}")
        page.get_by_text(there).first.wait_for(timeout=120_000)
        page.wait_for_timeout(3000)  # tables come later, and MLflow says nowhere that it is ready
        close = page.get_by_role("button", name="Close")
        if close.count():
            close.last.click()
            page.wait_for_timeout(1000)
        keep(page, name)
    page.close()


def of_atlas(browser: Any, atlas: Path) -> None:
    """Show every page."""
    page = browser.new_page(viewport={"width": 1300, "height": 860})
    site = (atlas / "index.html").as_uri()

    def show(name: str, hash: str, there: str, *, height: int = 860) -> None:
        page.set_viewport_size({"width": 1300, "height": height})
        page.goto("about:blank")
        page.goto(f"{site}{hash}")
        page.wait_for_selector(there)
        page.wait_for_timeout(1500)
        keep(page, f"atlas_{name}")

    show("map", "#/", "[aria-label=latents] [role=cell]")
    latent = page.text_content("[aria-label=latents] .row:not(.head) .number")
    show("latent", f"#/latent/{latent}", ".strip rect", height=1000)
    accession = page.text_content(".example b a")
    show("protein", f"#/protein/{accession}", ".tracks rect")
    sequence = "".join(page.locator(".lines .letter").all_text_contents())
    stretch = sequence[: max(40, len(sequence) // 2)]
    show("sequence", f"#/sequence?s={stretch}", ".tracks rect", height=1000)
    show("proteins", "#/proteins", "[aria-label=proteins] [role=cell]", height=620)
    show("concepts", "#/concepts", "[aria-label=concepts] [role=cell]", height=620)
    show("compare", "#/compare/0", "[aria-label='matched latents'] [role=cell]")
    page.close()


def keep(page: Any, name: str) -> None:
    """Write what is in view to ``docs/images/NAME.png``."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path = IMAGES / f"{name}.png"
    # The commonest colours stay as they are, such as that of the background; the others by the
    # method that keeps small coloured dots apart.
    common = sorted(picture.getcolors(1 << 24), reverse=True)[:128]
    rest = picture.quantize(128, Image.Quantize.MAXCOVERAGE).getpalette()
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for _, colour in common for part in colour] + rest)
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
