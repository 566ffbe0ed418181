"""Serving a site on this machine, and reading pasted sequences with the model."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from plmsae.core.errors import InputError, PlmsaeError

HOST = "127.0.0.1"
"""Nobody else on the network can connect."""

MAX_BODY = 100_000
"""Bytes of a request; more is refused."""

_LOG = logging.getLogger(__name__)

Score = Callable[[str], dict[str, Any]]
"""From a sequence to the data of its page (`atlas.proteins.protein_page`)."""


class AtlasServer(ThreadingHTTPServer):
    """A server of one site; ``/api/score`` takes ``{"sequence": …}``.

    Parameters
    ----------
    score : callable
        Reads one sequence; called by one thread at a time.
    port : int
        0 takes any that is free.

    Raises
    ------
    InputError
        If the port is taken.
    """

    daemon_threads = True

    def __init__(self, folder: Path, score: Score, *, port: int) -> None:
        self.score = score
        self.lock = Lock()
        try:
            super().__init__((HOST, port), partial(_Handler, directory=str(folder)))
        except OSError as error:
            raise InputError(f"cannot listen: {error.strerror}", where=f"port {port}") from error

    @property
    def url(self) -> str:
        """Where to open it."""
        return f"http://{HOST}:{self.server_port}/"


class _Handler(SimpleHTTPRequestHandler):
    server: AtlasServer

    def do_GET(self) -> None:
        if not self._is_local():
            return
        if self.path == "/api/score":
            self._answer(HTTPStatus.OK, {"ready": True})
            return
        super().do_GET()

    def do_HEAD(self) -> None:
        if self._is_local():
            super().do_HEAD()

    def list_directory(self, path: Any) -> None:
        """Show no list of files."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        if not self._is_local():
            return
        # A form of another site cannot send this type without being asked first.
        if self.headers.get_content_type() != "application/json":
            self._answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, {"error": "send application/json"})
            return
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > MAX_BODY:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": "too long"})
            return
        try:
            body = json.loads(self.rfile.read(int(length)))
            sequence = body["sequence"]
            if self.path != "/api/score" or not isinstance(sequence, str):
                raise KeyError
        except (ValueError, KeyError, TypeError):
            self._answer(HTTPStatus.BAD_REQUEST, {"error": "needs a sequence"})
            return
        try:
            with self.server.lock:
                page = self.server.score(sequence)
        except PlmsaeError as error:
            self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": str(error)})
            return
        self._answer(HTTPStatus.OK, page)

    def _is_local(self) -> bool:
        """Refuse requests that name another host: a page elsewhere whose name leads here."""
        port = self.server.server_port
        if self.headers.get("Host") in (f"{HOST}:{port}", f"localhost:{port}"):
            return True
        self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        return False

    def end_headers(self) -> None:
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def _answer(self, status: HTTPStatus, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        _LOG.debug(format, *args)
