"""A hub that cannot be reached is told at once; no test here needs a network."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import constants
from tiny import save_tiny

from plmsae.core.errors import InputError, UnavailableError
from plmsae.core.hub import download_model, hub_unreachable
from plmsae.plm.facts import plm_facts
from plmsae.plm.model import load_plm
from plmsae.sae.importing.hub import fetch_interplm

REPOSITORY = "owner/model"
COMMIT = "c0ffee" * 6 + "c0de"


def free_port() -> int:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return int(closed.getsockname()[1])


@pytest.fixture
def closed_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point the hub's library at a port where nobody listens, with an empty cache.

    The library must not come to ask again: its growing waits, over 20 seconds for each file, are
    what makes an opening without a network slow.
    """

    def wait(seconds: float) -> None:
        raise AssertionError(f"the library asks again, after {seconds} seconds")

    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", wait)
    endpoint = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    return endpoint


@contextmanager
def server(status: int) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def downloaded(cache: Path) -> Path:
    """Put a tiny PLM into a hub cache as the hub's library lays it out."""
    root = cache / "models--owner--model"
    folder = save_tiny(root / "snapshots" / COMMIT)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    return folder


@pytest.mark.usefixtures("closed_hub")
def test_opening_a_plm_without_the_hub_fails_at_once_in_one_line() -> None:
    with pytest.raises(
        UnavailableError, match=r"^owner/model: the Hugging Face hub cannot be reached"
    ) as e:
        load_plm(REPOSITORY, device="cpu")
    assert "\n" not in str(e.value)
    assert "plmsae-mini" in str(e.value)


@pytest.mark.usefixtures("closed_hub")
def test_a_plm_that_was_downloaded_before_opens_without_the_hub(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = downloaded(tmp_path / "hub")
    plm = load_plm(REPOSITORY, device="cpu")
    assert (plm.n_layers, plm.revision) == (3, COMMIT)
    assert "the hub cannot be reached" in caplog.text
    assert plm_facts(REPOSITORY).revision == COMMIT
    assert download_model(REPOSITORY, None) == folder


@pytest.mark.usefixtures("closed_hub")
def test_facts_and_saes_without_the_hub_come_at_once(tmp_path: Path) -> None:
    facts = plm_facts("esm2-650m")
    assert (facts.n_layers, facts.d_model, facts.revision) == (33, 1280, "")
    with pytest.raises(UnavailableError, match=r"config cannot be read: the hub cannot be reached"):
        plm_facts(REPOSITORY)
    with pytest.raises(InputError, match=r"cannot be fetched: the hub cannot be reached.*--from"):
        fetch_interplm("esm2-8m", 4)


def test_a_hub_that_never_answers_is_given_up_after_the_library_s_own_timeout(
    closed_hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        start = time.perf_counter()
        assert hub_unreachable(REPOSITORY)
        assert time.perf_counter() - start < 30


@pytest.mark.parametrize(
    ("status", "answers"), [(200, True), (307, True), (404, True), (503, False)]
)
@pytest.mark.usefixtures("closed_hub")
def test_any_answer_but_a_server_s_failure_means_that_the_hub_is_there(
    monkeypatch: pytest.MonkeyPatch, status: int, answers: bool
) -> None:
    with server(status) as endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        why = hub_unreachable(REPOSITORY)
    assert (why is None) == answers
    assert answers or "503" in str(why)


def test_under_hf_hub_offline_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.get_session", None)
    assert hub_unreachable(REPOSITORY) == "HF_HUB_OFFLINE is set"


@pytest.mark.usefixtures("closed_hub")
def test_a_downloaded_plm_without_safetensors_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--owner--model" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "esm"}))
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text(COMMIT)
    with pytest.raises(InputError, match="no safetensors weights"):
        download_model(REPOSITORY, None)
