"""The page of a registered version: what it says, and that its links lead somewhere in the UI."""

from __future__ import annotations

import re
from collections.abc import Callable

from tiny_bundle import METRICS

from plmsae.bundle.reading import Bundle
from plmsae.registry.models import register
from plmsae.registry.pages import ATLAS, REPORTS, ROOM, fitted, link_page
from plmsae.registry.versions import ModelRef
from plmsae.tracking.runs import start_run
from plmsae.tracking.store import client

Make = Callable[..., Bundle]


def description(ref: ModelRef) -> str:
    return str(client().get_model_version(ref.name, ref.version).description)


def evaluated(bundle: Bundle) -> ModelRef:
    """Register a bundle from a run that has what an evaluation leaves."""
    with start_run(experiment="plmsae-evaluate") as run:
        run.set_tags({"quality_models": "12 of 12 expectations are met"})
        run.log_text("<p>verdicts of the gate</p>", "quality/models/summary.html")
        run.log_text("<p>a plot</p>", "figures/plot.html")
        run.log_text("{}", "evaluation/features.json")
        return register(bundle, run_id=run.run_id)


def report_of(ref: ModelRef, words: str) -> None:
    with start_run(experiment="plmsae-report") as run:
        run.log_text(f"<p>{words}</p>", "report/report.html")
        link_page(run, ref.uri, REPORTS, "20 features", "report/report.html")


def test_the_page_has_the_verdicts_and_where_to_find_what(
    make_bundle: Make, store_uri: str
) -> None:
    ref = evaluated(make_bundle(metrics={**METRICS, "dead_share": 0.5}))
    page = description(ref)
    assert re.search(
        r"Gates: \d met, 1 not met, 2 do not apply\*\*: dead\\_share &lt;= 0.3\.", page
    )
    assert "champion" not in page.split("## Gates")[1].split("| gate")[1].split("## ")[0]
    version = client().get_model_version(ref.name, ref.version)
    run = f"#/experiments/1/runs/{version.run_id}"
    assert f"[quality of the models]({run}/artifacts/quality/models/summary.html)" in page
    assert f"[plots]({run}/artifacts/figures), [tables]({run}/artifacts/evaluation)" in page
    assert f"(#/experiments/1/models/{ref.model_id})" in page
    assert f"- {REPORTS}: none yet" in page
    assert f"plmsae atlas {ref}" in page


def test_a_bundle_without_a_run_has_a_page_too(make_bundle: Make, store_uri: str) -> None:
    page = description(register(make_bundle()))
    assert "Gates: " in page
    assert "/runs/" not in page
    assert f"- {ATLAS}: none yet" in page


def test_a_later_report_is_linked_in_the_place_of_the_one_before(
    make_bundle: Make, store_uri: str
) -> None:
    ref = evaluated(make_bundle())
    before = description(ref)
    report_of(ref, "one")
    report_of(ref, "two")
    runs = client().search_runs(
        [client().get_experiment_by_name("plmsae-report").experiment_id],
        order_by=["attributes.start_time DESC"],
    )
    changed = description(ref)
    (line,) = [line for line in changed.splitlines() if line.startswith(f"- {REPORTS}: ")]
    assert line.endswith(f"/runs/{runs[0].info.run_id}/artifacts/report/report.html)")
    old = next(line for line in before.splitlines() if line.startswith(f"- {REPORTS}: "))
    assert changed == before.replace(old, line)


def test_a_folder_has_no_page(make_bundle: Make, store_uri: str) -> None:
    with start_run() as run:
        link_page(run, "name@sha256:123", ATLAS, "x", "atlas/atlas.html")


def test_what_a_database_has_no_room_for_is_left_out_by_whole_sections() -> None:
    sections = {"Pages": 900, "Evidence": 4500, "Limits": 300, "Data": 2000}
    page = "# NAME\n\nAbout.\n\n"
    page += "\n\n".join(f"## {name}\n\n{'x' * n}" for name, n in sections.items()) + "\n"
    short = fitted(page)
    assert len(short) <= ROOM
    assert [name for name in sections if f"## {name}\n" in short] == ["Pages", "Limits", "Data"]
    assert "README.md" in short
    assert len(fitted("x" * 9000)) <= ROOM
