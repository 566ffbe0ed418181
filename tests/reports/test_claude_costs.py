"""What asking may cost is a bound, whatever the API does."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from api_server import LOST, Reply, message, serving
from held_out_world import world
from test_claude_predictions import describe, description, honest, is_prediction, settings

from plmsae.reports.claude.budget import cost_of_one, tokens_of
from plmsae.reports.claude.requests import describe_request
from plmsae.reports.dry_run import dry_run
from plmsae.reports.report import EVIDENCE_ONLY

MAX_TOKENS = settings().max_tokens


class Dearest:
    """Uses no question's first answer; a token for each byte, all written to the prompt cache."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, body: dict[str, Any]) -> Reply:
        text = json.dumps(body, ensure_ascii=False, sort_keys=True)
        self.asked.append(text)
        usage = {
            "input_tokens": 0,
            "cache_creation_input_tokens": len(text.encode()),
            "output_tokens": MAX_TOKENS,
        }
        if self.asked.count(text) == 1:
            return 200, message('{"title": "x', "max_tokens", **usage)
        if is_prediction(body):
            return 200, message(honest(body)[1]["content"][0]["text"], **usage)
        # As long as its tokens allow, with letters that take many bytes on their way.
        long = dict.fromkeys(("title", "claim", "description", "activation_rule"), '<"α\\>' * 900)
        return 200, message(json.dumps(description(body) | long), **usage)


@pytest.mark.parametrize("batch", [False, True])
def test_a_dry_run_bounds_what_the_dearest_answers_cost(tmp_path: Path, batch: bool) -> None:
    evidence = world(latents=2)
    planned = dry_run(evidence, settings=settings(), cache_dir=tmp_path, batch=batch)
    dearest = Dearest()
    with serving(dearest) as api:
        reports = describe(api, evidence, cache_dir=tmp_path, batch=batch)
    spent = sum(report.usage.cost_usd for report in reports)
    assert all(len(report.tests) == 3 for report in reports)  # every question was answered
    assert (planned.describing.n_questions, planned.testing.n_questions) == (2, 4)
    assert len(dearest.asked) == planned.describing.n_requests + planned.testing.n_requests == 12
    written = planned.describing.output_tokens + planned.testing.output_tokens
    assert written == 12 * MAX_TOKENS
    assert 0.7 * planned.cost_usd < spent <= planned.cost_usd


def test_an_answer_that_is_lost_is_asked_for_once_more_and_counts_as_paid() -> None:
    (evidence,) = world()
    most = cost_of_one(tokens_of(describe_request(evidence, settings())), settings(), batch=False)
    with serving(lambda _body: (LOST, {})) as api:
        (report,) = describe(api, [evidence])
        assert len(api.messages) == 2  # and not as often as the SDK retries
        assert "APIConnectionError" in report.note
        (report,) = describe(api, [evidence], max_usd=1.5 * most)
        assert len(api.messages) == 3
    assert report.author == EVIDENCE_ONLY
    assert "could cost more than is left" in report.note


def test_after_a_lost_answer_the_next_one_is_taken() -> None:
    lost: list[int] = []

    def once(body: dict[str, Any]) -> Reply:
        lost.append(1)
        return (LOST, {}) if len(lost) == 1 else honest(body)

    with serving(once) as api:
        (report,) = describe(api, world())
    assert report.verified
    assert len(api.messages) == 4


def count(body: dict[str, Any]) -> Reply:
    assert set(body) == {"model", "system", "messages", "output_config"}
    return 200, {"input_tokens": 1000}


def test_with_a_client_the_api_counts_the_tokens_and_is_asked_nothing() -> None:
    evidence = world(latents=2)
    with serving(honest, count=count) as api:
        counted = dry_run(evidence, settings=settings(), cache_dir=None, client=api.client())
        assert not api.messages
        assert len(api.counted) == 6
    assert counted.counted_by_api
    assert counted.describing.input_tokens == 2 * 2 * 1050
    # A description that is not yet written is taken to be as long as what is quoted of it.
    assert counted.testing.input_tokens == 2 * 4 * (1050 + 4420)
    bounded = dry_run(evidence, settings=settings(), cache_dir=None)
    assert counted.cost_usd < bounded.cost_usd
    assert "as the API counts them, and 5% more" in "\n".join(counted.lines(2))
    assert "one for each byte" in "\n".join(bounded.lines(2))


def test_an_api_that_does_not_count_leaves_the_bound_by_bytes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(honest) as api, caplog.at_level(logging.WARNING, logger="plmsae"):
        found = dry_run(world(), settings=settings(), cache_dir=None, client=api.client())
    assert found == dry_run(world(), settings=settings(), cache_dir=None)
    assert "the API did not count the tokens (NotFoundError (HTTP 404))" in caplog.text
