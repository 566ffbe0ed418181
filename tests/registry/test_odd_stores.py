"""Tracking stores that are misspelled, unreachable or moved, and names that are not text."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from plmsae.bundle.reading import Bundle
from plmsae.core.atomic import write_json
from plmsae.core.errors import InputError, printable
from plmsae.registry.mlflow_model import _check_there
from plmsae.registry.models import register, resolve
from plmsae.tracking.runs import start_run
from plmsae.tracking.store import client, mlflow_errors, tracking_uri

LATIN = os.fsdecode(b"caf\xe9.fasta")


@pytest.mark.parametrize("around", ["{}\r", "{}\n", " {}", "{} \t"])
def test_blanks_and_line_ends_around_a_uri_are_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    uri = f"sqlite:///{tmp_path / 'x.db'}"
    assert tracking_uri(around.format(uri)) == uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", around.format(uri))
    assert tracking_uri() == uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", " \r")
    assert tracking_uri().endswith("/mlflow.db")


@pytest.mark.parametrize(
    ("uri", "module", "package"),
    [
        ("postgresql://u:secret@host/db", "psycopg", "psycopg"),
        ("mysql+pymysql://u:secret@host/db", "pymysql", "pymysql"),
        ("mysql://u:secret@host/db", "MySQLdb", "mysqlclient"),
    ],
)
def test_a_missing_driver_is_named_with_its_package(
    uri: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(
        InputError, match=f"needs the Python package .*pip install '?{package}"
    ) as e:
        client(uri)
    assert "secret" not in str(e.value)


@pytest.mark.parametrize("content", [None, b"no database at all"])
def test_a_database_that_cannot_be_opened_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = tmp_path / "x.db"
    path.mkdir() if content is None else path.write_bytes(content)

    def sleep(seconds: float) -> None:
        raise AssertionError(f"MLflow waits {seconds} s to try again")

    monkeypatch.setattr("mlflow.store.db.utils.time.sleep", sleep)
    with pytest.raises(InputError, match="MLflow refused") as caught:
        client(f"sqlite:///{path}")
    assert "\n" not in str(caught.value)


def test_a_mistake_of_ours_is_no_missing_driver() -> None:
    with pytest.raises(ModuleNotFoundError), mlflow_errors("sqlite:///x.db"):
        raise ModuleNotFoundError("No module named 'plmsae.nothing'", name="plmsae.nothing")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody can write to")
def test_a_folder_that_cannot_be_written_is_one_line_at_once() -> None:
    started = time.monotonic()
    with pytest.raises(InputError, match=r"database cannot be made here .*--tracking-uri"):
        client("sqlite:////proc/self/mlflow.db")
    assert time.monotonic() - started < 20  # the import of MLflow


def test_a_long_message_is_cut_between_words() -> None:
    with pytest.raises(InputError, match=r"word …$") as caught, mlflow_errors("sqlite:///x.db"):
        raise OSError("word " * 200)
    assert len(str(caught.value)) < 360


def test_a_model_whose_files_moved_is_one_line(
    store_uri: str, make_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    ref = register(make_bundle())
    (tmp_path / "mlruns").rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"not where they were registered; was mlruns moved"):
        resolve(str(ref))
    (tmp_path / "moved").rename(tmp_path / "mlruns")
    assert resolve(str(ref)).digest


def test_artifacts_of_a_server_are_not_looked_for_on_this_disk() -> None:
    for location in ("mlflow-artifacts:/1/models/m-1/artifacts", "s3://bucket/x", "dbfs:/x"):
        _check_there(location)
    with pytest.raises(InputError):
        _check_there("file:///nowhere/at/all")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain é 日本", "plain é 日本"), (LATIN, "caf\\xe9.fasta"), ("\ud800", "\\ud800")],
)
def test_printable_text_is_utf8_and_plain_text_is_left(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode("utf-8")


def test_a_file_name_that_is_no_text_can_be_logged_and_written(
    store_uri: str, tmp_path: Path
) -> None:
    with start_run(run_name=f"score {LATIN}", params={"x": LATIN, "y": [LATIN]}) as run:
        run.set_tags({"file": LATIN})
        run.log_text(LATIN, "file.txt")
        logged = client().get_run(run.run_id)
    assert logged.data.params["x"] == "caf\\xe9.fasta"
    assert logged.info.run_name == "score caf\\xe9.fasta"
    write_json(tmp_path / "x.json", {"file": LATIN})
    assert "caf" in (tmp_path / "x.json").read_text("utf-8")
    with pytest.raises(InputError, match=r"caf\\xe9.fasta: no such thing"):
        raise InputError("no such thing", where=LATIN)
