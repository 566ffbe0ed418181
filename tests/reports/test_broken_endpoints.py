"""Whatever an endpoint answers, the report is written from the evidence, with one line why."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import pytest
from test_reports_claude import answer, evidence, message

from plmsae.reports.describe import describe_all
from plmsae.reports.report import EVIDENCE_ONLY

DEEP = "[" * 100_000 + "]" * 100_000
GOOD = json.dumps(message(json.dumps(answer())))
HTML = "text/html"
JSON = "application/json"


class Endpoint:
    body: bytes = b""
    kind: str = JSON
    port: int = 0


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    state = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", state.kind)
            self.send_header("content-length", str(len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = httpd.server_port
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield state
    httpd.shutdown()
    httpd.server_close()


def changed(**changes: Any) -> str:
    return json.dumps(message(json.dumps(answer())) | changes)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<!doctype html><html>Log in</html>", HTML),
        ("<!doctype html><html>Log in</html>", JSON),
        ("", JSON),
        ("", HTML),
        ("plain words", "text/plain"),
        (GOOD[:100], JSON),
        ('{"type": "error", "error": {"type": "api_error", "message": "no"}}', JSON),
        ('{"error": "no such route"}', JSON),
        ("{}", JSON),
        ("[]", JSON),
        ("null", JSON),
        ("3", JSON),
        ('"text"', JSON),
        (changed(content=None), JSON),
        (changed(content="text"), JSON),
        (changed(content=[None]), JSON),
        (changed(content=[{"type": "text"}]), JSON),
        (changed(content=[{"type": "text", "text": None}]), JSON),
        (changed(content=[]), JSON),
        (changed(usage=None), JSON),
        (changed(usage={"input_tokens": "many", "output_tokens": None}), JSON),
        (GOOD.replace("1000", "9" * 5000), JSON),
        (DEEP, JSON),
        (json.dumps(message(DEEP)), JSON),
        (json.dumps(message("9" * 5000)), JSON),
        (GOOD.replace("end_turn", "\\ud800"), JSON),
    ],
    ids=range(26),
)
def test_the_report_is_the_one_from_evidence_and_one_line_says_why(
    endpoint: Endpoint, body: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.body, endpoint.kind = body.encode(), kind
    client = anthropic.Anthropic(
        api_key="k", base_url=f"http://127.0.0.1:{endpoint.port}", max_retries=0
    )
    with caplog.at_level(logging.WARNING, logger="plmsae"):
        reports = describe_all([evidence(7), evidence(8)], client=client)
    if reports[0].note:
        assert [report.author for report in reports] == [EVIDENCE_ONLY] * 2
        (line,) = [r.getMessage() for r in caplog.records if r.name.startswith("plmsae")]
        assert "wrote nothing about 2 of 2 features" in line
        assert "\n" not in line
        assert len(line) < 400
    else:  # an odd stop reason alone loses nothing
        assert "ud800" in body
    assert json.dumps([report.to_json() for report in reports]).encode()


def test_what_is_no_text_in_a_good_answer_costs_the_words(endpoint: Endpoint) -> None:
    endpoint.body = json.dumps(message(json.dumps(answer(title="a\ud800b")))).encode()
    client = anthropic.Anthropic(
        api_key="k", base_url=f"http://127.0.0.1:{endpoint.port}", max_retries=0
    )
    (report,) = describe_all([evidence(7)], client=client)
    assert report.author == EVIDENCE_ONLY
    assert "field title" in report.note
    json.dumps(report.to_json(), ensure_ascii=False).encode("utf-8")
