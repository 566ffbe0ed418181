"""The links of the page of a version, in MLflow's own UI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_pages import NEEDS_CHROMIUM
from mlflow_servers import serving
from test_version_page import evaluated, report_of

from plmsae.bundle.reading import Bundle

Make = Callable[..., Bundle]
pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]


def test_links_of_the_page_lead_to_pages_inside_mlflows_ui(
    make_bundle: Make,
    store_uri: str,
    tmp_path: Path,
    browser: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(tmp_path / "s", store_uri) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        ref = evaluated(make_bundle())
        report_of(ref, "words of the report")
        page = browser.new_page(viewport={"width": 1350, "height": 1150})
        page.set_default_timeout(120_000)
        address = f"{server.uri}/#/models/{ref.name}/versions/{ref.version}"
        for link, shown in (
            ("20 features", "words of the report"),
            ("quality of the models", "verdicts of the gate"),
        ):
            page.goto(address)
            where = page.get_by_role("link", name=link).get_attribute("href")
            page.goto("about:blank")
            page.goto(f"{server.uri}/{where}")
            page.frame_locator("iframe").get_by_text(shown).wait_for()
        for link, shown in (("plots", "plot.html"), ("the logged model", "Source run")):
            page.goto(address)
            where = page.get_by_role("link", name=link).get_attribute("href")
            page.goto("about:blank")
            page.goto(f"{server.uri}/{where}")
            page.get_by_text(shown).first.wait_for()
        page.close()
