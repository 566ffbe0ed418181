"""Fixtures of the tests of bundle, tracking and registry: tiny bundles, and an MLflow store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_bundle import tiny_concepts, tiny_features, tiny_meta, tiny_sae

from plmsae.bundle.reading import Bundle
from plmsae.bundle.writing import write_bundle

Make = Callable[..., Bundle]


@pytest.fixture
def make_bundle(tmp_path: Path) -> Make:
    """Write a tiny bundle; keyword arguments change its `BundleMeta`."""
    counter = iter(range(1000))

    def make(**changes: object) -> Bundle:
        return write_bundle(
            tmp_path / f"bundle_{next(counter)}",
            sae_folder=tiny_sae(tmp_path / "tiny_sae"),
            meta=tiny_meta(**changes),
            features=tiny_features(),
            concepts=tiny_concepts(),
        )

    return make


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and nothing in them; making it takes seconds, once."""
    from plmsae.tracking.store import client

    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    client(f"sqlite:///{path}")
    return path


@pytest.fixture
def store_uri(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh SQLite store in `tmp_path`, which is also the working folder and holds the cache."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.setenv("PLMSAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"
