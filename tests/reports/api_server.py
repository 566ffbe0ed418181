"""A server on this machine that speaks the Messages API and the Message Batches API."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import anthropic

Reply = tuple[int, dict[str, Any]]
LOST = -1
"""Status of a reply that never comes: the connection is closed."""


def message(text: str, stop_reason: str = "end_turn", **usage: int) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": [{"type": "text", "text": text}],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 1000, "output_tokens": 200, **usage},
    }


def error(kind: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": kind}}


@dataclass
class Api:
    """Answers each question by `reply`; a batch ends after `polls` further questions for it."""

    reply: Callable[[dict[str, Any]], Reply]
    polls: int = 2
    fail_polls: list[int] = field(default_factory=list)
    """Status codes with which the next polls fail."""
    fail_batches: list[int] = field(default_factory=list)
    """Status codes with which the next batches are refused; with `LOST` one is taken in silence."""
    on_batch: Callable[[], None] = lambda: None
    """Called when a batch has been taken, before the answer is sent."""
    count: Callable[[dict[str, Any]], Reply] | None = None
    """Answers ``count_tokens``; without it there is no such endpoint."""
    counted: list[dict[str, Any]] = field(default_factory=list)
    page: int = 2
    """Batches on a page of their list, whatever is asked for: so that pages are followed."""
    created: dict[str, str] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    batches: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    polled: dict[str, int] = field(default_factory=dict)
    port: int = 0

    def client(self, max_retries: int = 2) -> anthropic.Anthropic:
        return anthropic.Anthropic(
            api_key="k", base_url=f"http://127.0.0.1:{self.port}", max_retries=max_retries
        )

    def post(self, path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/messages":
            self.messages.append(body)
            return self.reply(body)
        if path == "/v1/messages/count_tokens":
            self.counted.append(body)
            return self.count(body) if self.count else (404, error("not_found_error"))
        assert path == "/v1/messages/batches", path
        ids = [entry["custom_id"] for entry in body["requests"]]
        if len(set(ids)) < len(ids) or not all(re.fullmatch(r"[\w-]{1,64}", i) for i in ids):
            return 400, error("invalid_request_error")
        failure = self.fail_batches.pop(0) if self.fail_batches else 0
        if failure > 0:
            return failure, error("overloaded_error")
        name = self.take(body["requests"])
        self.on_batch()
        if failure == LOST:
            return LOST, {}
        return 200, self.batch(name)

    def take(self, requests: list[dict[str, Any]]) -> str:
        """Make a batch; its name."""
        name = f"msgbatch_{len(self.batches) + 1}"
        self.batches[name] = requests
        self.polled[name] = 0
        self.created[name] = datetime.now(UTC).isoformat()
        return name

    def listed(self, after: str | None) -> dict[str, Any]:
        """A page of all batches, the newest first."""
        names = list(reversed(self.batches))
        first = names.index(after) + 1 if after else 0
        shown = names[first : first + self.page]
        return {
            "data": [self.batch(name) for name in shown],
            "has_more": first + self.page < len(names),
            "first_id": shown[0] if shown else None,
            "last_id": shown[-1] if shown else None,
        }

    def get(
        self, path: str, query: dict[str, list[str]]
    ) -> tuple[int, dict[str, Any] | list[dict[str, Any]]]:
        if path == "/v1/messages/batches":
            return 200, self.listed(query.get("after_id", [None])[0])
        name = path.split("/")[4]
        if name not in self.batches:
            return 404, error("not_found_error")
        if path.endswith("/results"):
            # Results come in any order.
            return 200, [self.result(entry) for entry in reversed(self.batches[name])]
        if self.fail_polls:
            return self.fail_polls.pop(0), error("overloaded_error")
        self.polled[name] += 1
        return 200, self.batch(name)

    def result(self, entry: dict[str, Any]) -> dict[str, Any]:
        status, body = self.reply(entry["params"])
        kind = {"type": "succeeded", "message": body}
        if status != 200:
            kind = {"type": "expired"} if status == 0 else {"type": "errored", "error": body}
        return {"custom_id": entry["custom_id"], "result": kind}

    def batch(self, name: str) -> dict[str, Any]:
        ended = self.polled[name] > self.polls
        n = len(self.batches[name])
        root = f"http://127.0.0.1:{self.port}/v1/messages/batches/{name}"
        time = "2026-01-01T00:00:00Z"
        return {
            "id": name,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": {
                "processing": 0 if ended else n,
                "succeeded": n if ended else 0,
                **dict.fromkeys(("errored", "canceled", "expired"), 0),
            },
            "created_at": self.created[name],
            "expires_at": time,
            "ended_at": time if ended else None,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"{root}/results" if ended else None,
        }


@contextmanager
def serving(reply: Callable[[dict[str, Any]], Reply], **options: Any) -> Iterator[Api]:
    api = Api(reply=reply, **options)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                self.answer(*api.post(self.path.split("?")[0], body))

        def do_GET(self) -> None:
            with lock:
                path, _, query = self.path.partition("?")
                self.answer(*api.get(path, parse_qs(query)))

        def answer(self, status: int, reply: dict[str, Any] | list[dict[str, Any]]) -> None:
            if status == LOST:
                self.close_connection = True
                return
            lines = reply if isinstance(reply, list) else None
            text = "\n".join(map(json.dumps, lines)) if lines is not None else json.dumps(reply)
            self.send_response(status)
            kind = "application/json" if lines is None else "application/x-jsonl"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(text.encode())))
            self.send_header("retry-after-ms", "5")
            self.end_headers()
            with suppress(OSError):  # who asked may have been killed
                self.wfile.write(text.encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.port = httpd.server_port
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
