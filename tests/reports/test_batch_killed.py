"""A batch is sent once, wherever the run that sends it stops."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from api_server import LOST, Api, serving
from held_out_world import world
from test_claude_predictions import describe, honest

CHILD = """
import dataclasses, pathlib, sys
sys.path[:0] = sys.argv[4:]
import anthropic
from held_out_world import world
from test_claude_predictions import settings
from plmsae.reports.describe import describe_all
client = anthropic.Anthropic(api_key="k", base_url=sys.argv[1], max_retries=2)
folder = pathlib.Path(sys.argv[2])
evidence = world(latents=int(sys.argv[3]))
describe_all(evidence, client=client, settings=settings(), batch=True, cache_dir=folder)
"""


def killed_while_sending(
    api: Api, folder: Path, also: Callable[[], None] = lambda: None, latents: int = 2
) -> None:
    """Start a run in a process of its own, and kill it before it hears that its batch was taken."""
    children: list[subprocess.Popen[bytes]] = []

    def kill() -> None:
        children[0].kill()  # SIGKILL
        also()

    api.on_batch = kill
    url = f"http://127.0.0.1:{api.port}"
    children.append(
        subprocess.Popen([sys.executable, "-c", CHILD, url, str(folder), str(latents), *sys.path])
    )
    assert children[0].wait(120) == -9
    api.on_batch = lambda: None
    (note,) = (json.loads(path.read_text()) for path in folder.glob("*.batch.json"))
    assert note["id"] is None
    assert len(note["questions"]) == latents


def sizes(api: Api) -> list[int]:
    return [len(batch) for batch in api.batches.values()]


def test_a_run_killed_before_it_knows_the_id_of_its_batch_finds_it(tmp_path: Path) -> None:
    with serving(honest) as api:
        # Batches of other programs: of another size, and of the same one, older and newer.
        others = [{"custom_id": f"other_{i}", "params": {}} for i in range(3)]
        api.reply = lambda body: honest(body) if body else (200, {})
        api.take(others[:2])
        killed_while_sending(api, tmp_path)
        api.take(others[1:])
        api.take(others)
        reports = describe(api, world(latents=2), batch=True, cache_dir=tmp_path)
    assert sizes(api) == [2, 2, 2, 3, 4]  # the four predictions are new, the descriptions are not
    assert all(report.verified for report in reports)
    assert not list(tmp_path.glob("*.batch.json"))


def test_a_batch_that_was_never_taken_is_sent_by_the_next_run(tmp_path: Path) -> None:
    with serving(honest) as api:
        killed_while_sending(api, tmp_path, lambda: api.batches.clear())
        reports = describe(api, world(latents=2), batch=True, cache_dir=tmp_path)
        assert sizes(api) == [2, 4]
    assert all(report.verified for report in reports)


def test_a_batch_whose_answer_is_lost_is_found_and_not_sent_again(tmp_path: Path) -> None:
    with serving(honest, fail_batches=[LOST]) as api:
        reports = describe(api, world(latents=2), batch=True, cache_dir=tmp_path)
        assert sizes(api) == [2, 4]
    assert all(report.verified for report in reports)


@pytest.mark.parametrize("status", [429, 529, 500])
def test_a_batch_that_is_refused_for_now_is_sent_again(tmp_path: Path, status: int) -> None:
    with serving(honest, fail_batches=[status, status]) as api:
        reports = describe(api, world(latents=2), batch=True, cache_dir=tmp_path)
        assert sizes(api) == [2, 4]
    assert all(report.verified for report in reports)


def test_a_batch_that_stays_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    with serving(honest, fail_batches=[400]) as api:
        (report,) = describe(api, world(), batch=True, cache_dir=tmp_path)
        assert sizes(api) == []
    assert "HTTP 400" in report.note
    assert not list(tmp_path.glob("*.batch.json"))
