"""Structures come from a folder, or from a database that speaks as AlphaFold's does."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from plmsae.atlas.structures import fetch_structures, structures_in
from plmsae.core.errors import PlmsaeError
from plmsae.core.resources import ready_model
from plmsae.workflows import atlas
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import AtlasRequest


def test_structures_are_found_by_either_name(tmp_path: Path) -> None:
    for name in ("AF-P12345-F1-model_v4.pdb", "q9.cif", "notes.txt", "AF-P12345-F2-model_v4.pdb"):
        (tmp_path / name).write_text("")
    found = structures_in(tmp_path, ["P12345", "Q9", "X1"])
    assert {key: path.name for key, path in found.items()} == {
        "P12345": "AF-P12345-F1-model_v4.pdb",
        "Q9": "q9.cif",
    }


class _Database(BaseHTTPRequestHandler):
    """Knows P12345 (MKT) and Q12345 (another sequence), and points elsewhere for O12345."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        here = f"http://{self.headers['Host']}"
        models = {
            "P12345": {"uniprotSequence": "MKT", "cifUrl": f"{here}/files/AF-P12345-F1.cif"},
            "Q12345": {"sequence": "MKV", "cifUrl": f"{here}/files/AF-Q12345-F1.cif"},
            "O12345": {"sequence": "MKT", "cifUrl": "file:///etc/passwd"},
        }
        name = self.path.rsplit("/", 1)[-1]
        if self.path.startswith("/files/"):
            answer: bytes | None = b"data_P12345"
        else:
            answer = json.dumps([models[name]]).encode() if name in models else None
        self.send_response(404 if answer is None else 200)
        self.end_headers()
        self.wfile.write(answer or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Database)
    server.asked = []  # type: ignore[attr-defined]
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PLMSAE_ALPHAFOLD_API", f"http://127.0.0.1:{server.server_port}/api/")
    monkeypatch.setenv("PLMSAE_CACHE", str(tmp_path / "cache"))
    yield server.asked  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def test_a_model_of_the_same_sequence_is_fetched_once(asked: list[str]) -> None:
    proteins = {"P12345": "MKT", "Q12345": "MKT", "O12345": "MKT", "A12345": "MKT", "../x": "MKT"}
    found = fetch_structures(proteins)
    assert list(found) == ["P12345"]
    assert found["P12345"].read_bytes() == b"data_P12345"
    assert "/api/prediction/P12345" in asked
    assert not any(".." in path for path in asked)
    asked.clear()
    assert fetch_structures({"P12345": "MKT"}) == found
    assert asked == []
    # What the cache holds is of the sequence that it was fetched for.
    assert fetch_structures({"P12345": "MKV"}) == {}


def test_a_database_that_cannot_be_reached_is_a_warning(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fetch_structures({"P12345": "MKT"})
    monkeypatch.setenv("PLMSAE_ALPHAFOLD_API", "http://127.0.0.1:9/api")
    with caplog.at_level(logging.WARNING):
        found = fetch_structures({"P12345": "MKT", "Q12345": "MKV", "A12345": "MKT"})
    assert list(found) == ["P12345"]
    assert len(caplog.records) == 1
    assert "1 of 3 fetched" in caplog.text


def test_a_wrong_folder_or_number_is_refused_before_any_work(tmp_path: Path) -> None:
    request = AtlasRequest(model=str(ready_model()), out=tmp_path / "atlas", structures=tmp_path)
    for wrong, name in (
        ({"structures": tmp_path / "none"}, "no such folder"),
        ({"fetch_structures": -1}, "--fetch-structures"),
    ):
        with pytest.raises(PlmsaeError, match=name):
            atlas.run(dataclasses.replace(request, **wrong), Silent())
    assert not (tmp_path / "atlas").exists()
