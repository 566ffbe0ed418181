"""How long an atlas takes to open and how smoothly it scrolls, in headless Chromium.

    plmsae atlas MODEL -o atlas
    python benchmarks/atlas_load.py atlas

Needs playwright (`pip install playwright`) and Chromium on the PATH. Opens the site from its files,
as a double click does, `--repeat` times each with an empty cache: the map with its table, and the
page of a latent. "Open" is from the start of navigation until rows of the table, or strips of
residues, are there; "processor" is what Chromium has used for it, drawing in software included,
which other work on the machine hardly lengthens. Scrolling moves the table of latents from top to
bottom, a step for each frame; times are between frames.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

SCROLL = """
async () => {
  const table = document.querySelector("[aria-label=latents]");
  const gaps = [];
  let last = await new Promise(requestAnimationFrame);
  const step = Math.max(120, table.scrollHeight / 300);
  while (table.scrollTop + table.clientHeight < table.scrollHeight - 1 && gaps.length < 400) {
    table.scrollTop += step;
    const now = await new Promise(requestAnimationFrame);
    gaps.push(now - last);
    last = now;
  }
  return gaps;
}
"""


def main() -> None:
    """Print a table."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("--latent", type=int, help="by default the first that has a page")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    made = json.loads((options.site / "atlas.json").read_text())
    size = sum(path.stat().st_size for path in options.site.rglob("*") if path.is_file())
    single = (options.site / "atlas.html").stat().st_size
    index = (options.site / "data" / "index.js").stat().st_size
    print(
        f"{made['n_latents']:,} latents, {made['n_proteins']:,} proteins: {size / 1e6:.1f} MB, of "
        f"which atlas.html {single / 1e6:.1f} MB, the index {index / 1e6:.2f} MB"
    )
    site = (options.site / "index.html").resolve().as_uri()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        rows = "[aria-label=latents] .row:nth-child(4)"
        report("the map", [opened(browser, site, rows)[:2] for _ in range(options.repeat)])
        latent = options.latent
        if latent is None:
            page = browser.new_page()
            page.goto(site)
            page.wait_for_selector(rows)
            latent = int(page.text_content("[aria-label=latents] .row:not(.head) .number"))
            page.close()
        report(
            f"latent {latent}",
            [
                opened(browser, f"{site}#/latent/{latent}", ".strip rect")[:2]
                for _ in range(options.repeat)
            ],
        )
        single_file = (options.site / "atlas.html").resolve().as_uri()
        report(
            "atlas.html (all in one file)",
            [opened(browser, single_file, rows)[:2] for _ in range(options.repeat)],
        )
        _, _, page = opened(browser, site, rows, keep=True)
        before = processor_seconds(browser)
        gaps = sorted(page.evaluate(SCROLL))
        used = (processor_seconds(browser) - before) / len(gaps)
        print(
            f"scrolling: {len(gaps)} frames, median {statistics.median(gaps):.0f} ms, 95 % within "
            f"{gaps[int(0.95 * len(gaps))]:.0f} ms, longest {gaps[-1]:.0f} ms; processor "
            f"{1000 * used:.1f} ms a frame"
        )
        browser.close()


def opened(
    browser: Any, address: str, there: str, *, keep: bool = False
) -> tuple[float, float, Any]:
    """Open an address in a new context; return the seconds until `there` is, and of processor."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    before = processor_seconds(browser)
    page.goto(address)
    page.wait_for_selector(there)
    seconds = page.evaluate("performance.now()") / 1000
    busy = processor_seconds(browser) - before
    if not keep:
        context.close()
    return seconds, busy, page


def processor_seconds(browser: Any) -> float:
    """Return the processor time that all of Chromium has used, drawing in software included."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return float(sum(process["cpuTime"] for process in processes))


def report(what: str, runs: list[tuple[float, float]]) -> None:
    """Print the median and the range."""
    seconds, busy = zip(*runs, strict=True)
    print(
        f"{what}: open in {statistics.median(seconds):.2f} s ({min(seconds):.2f} to "
        f"{max(seconds):.2f}), processor {statistics.median(busy):.2f} s"
    )


if __name__ == "__main__":
    main()
