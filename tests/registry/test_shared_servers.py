"""A server that several people use: names and passwords, writers at once, an outage in training."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow_servers import Server, scorable_bundle, serving
from tiny import save_tiny

from plmsae.core.errors import InputError
from plmsae.registry.models import list_models, register, resolve
from plmsae.registry.promotion import promote
from plmsae.tracking.outage import WAIT, ServerAwayError
from plmsae.tracking.runs import start_run
from plmsae.tracking.store import client
from plmsae.workflows import train
from plmsae.workflows.shared.progress import Silent, Task
from plmsae.workflows.shared.requests import TrainRequest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("store_uri")]
NAME = "plmsae.plmsae-mini.L1.residue"
ADMIN, USER = ("admin", "correct-horse-battery"), ("reader", "a-long-password")


def ask(server: Server, path: str, **body: str) -> None:
    """Call MLflow's own API as the administrator."""
    token = base64.b64encode(":".join(ADMIN).encode()).decode()
    request = urllib.request.Request(
        f"{server.uri}/api/2.0/mlflow/{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Basic {token}"},
    )
    with urllib.request.urlopen(request, timeout=60):
        pass


def test_with_basic_auth_users_read_the_administrator_writes_and_strangers_are_told(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(
        "flask_wtf", reason="Flask-WTF, which MLflow's basic auth needs (mlflow[auth]), is missing"
    )
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", ADMIN[1])
    monkeypatch.setenv("MLFLOW_FLASK_SERVER_SECRET_KEY", "of this test")

    def log_in(name: str, password: str) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)

    with serving(tmp_path / "s", store_uri, "--app-name", "basic-auth") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        with pytest.raises(InputError, match=r"not authenticated.*MLFLOW_TRACKING_USERNAME"):
            list_models()
        log_in(ADMIN[0], "a-wrong-password")
        with pytest.raises(InputError, match="not authenticated") as caught:
            list_models()
        assert "a-wrong-password" not in str(caught.value)
        log_in(*ADMIN)
        with start_run(experiment="made") as run:
            run.log_metrics(0, {"loss": 1.0})
            register(scorable_bundle(tmp_path / "one"), run_id=run.run_id)
        promote(f"{NAME}/1")
        assert client().get_run(run.run_id).data.metrics["loss"] == 1.0
        ask(server, "users/create", username=USER[0], password=USER[1])
        log_in(*USER)
        assert resolve(NAME).name == NAME
        with pytest.raises(InputError, match="Permission denied"):
            register(scorable_bundle(tmp_path / "two"), run_id=run.run_id)
        assert list_models()["version"].to_list() == ["1"]


WRITER = """
import sys
from pathlib import Path
from plmsae.registry.models import register
from plmsae.tracking.outage import WAIT, ServerAwayError
from plmsae.tracking.runs import start_run
with start_run(experiment="both", run_name=sys.argv[1]) as run:
    for step in range(200):
        run.log_metrics(step, {"loss": float(step)})
    for _ in range(3):
        register(Path(sys.argv[2]), run_id=run.run_id)
"""


def test_an_alias_or_a_tag_that_several_set_at_once_is_set(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = scorable_bundle(tmp_path / "one").path
    aliases = [f"alias-{number}" for number in range(20)]
    together = threading.Barrier(4)
    with serving(tmp_path / "s", store_uri) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        ref = register(bundle)

        def write(_: int) -> None:
            store = client()
            for alias in aliases:
                together.wait(timeout=60)
                store.set_registered_model_alias(ref.name, alias, ref.version)
                together.wait(timeout=60)
                store.set_model_version_tag(ref.name, ref.version, alias, "x")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))
        assert set(list_models()["aliases"][0]) == {"challenger", *aliases}
        tags = client().get_model_version(ref.name, ref.version).tags
        assert all(tags[alias] == "x" for alias in aliases)


def test_two_writers_at_once_lose_nothing_and_share_no_version(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = scorable_bundle(tmp_path / "one").path
    with serving(tmp_path / "s", store_uri) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, name, str(bundle)],
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                cwd=tmp_path,
            )
            for name in ("one", "other")
        ]
        for writer in writers:
            errors = writer.communicate(timeout=240)[1]
            assert writer.returncode == 0, errors[-2000:]
        store = MlflowClient(server.uri)
        number = store.get_experiment_by_name("both").experiment_id
        runs = store.search_runs([number])
        assert sorted(run.info.run_name for run in runs) == ["one", "other"]
        for run in runs:
            assert run.info.status == "FINISHED"
            history = store.get_metric_history(run.info.run_id, "loss")
            assert sorted(p.step for p in history) == list(range(200))
        versions = store.search_model_versions(f"name='{NAME}'")
        assert sorted(int(v.version) for v in versions) == [1, 2, 3, 4, 5, 6]
        makers = {run.info.run_id: [] for run in runs}
        for version in versions:
            makers[version.run_id].append(version.source)
            assert f"{NAME}/{version.version}" in version.description
        assert [len(set(sources)) for sources in makers.values()] == [3, 3]


class Outage(Silent):
    """Kills the server at one step of training, and starts it again at another, or never."""

    def __init__(
        self, server: Server, monkeypatch: pytest.MonkeyPatch, back: int | None = 40
    ) -> None:
        self.server, self.monkeypatch, self.back = server, monkeypatch, back
        self.down: list[int] = []

    @contextmanager
    def task(self, name: str) -> Iterator[Task]:
        yield self if name.startswith("training") else _Unheard()

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        if done == 20:
            self.server.kill()
            # So that attempts end soon; what is measured is written later.
            self.monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        if done == self.back:
            self.server.start()
            self.monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
        if 20 <= done < (self.back or 100):
            self.down.append(int(done))


class _Unheard:
    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        pass


@pytest.fixture
def training(tmp_path: Path) -> TrainRequest:
    """Sixty steps of a tiny SAE, each of them logged."""
    plm = save_tiny(tmp_path / "tiny", max_position_embeddings=516)
    rng = np.random.default_rng(0)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    proteins = ["M" + "".join(rng.choice(letters, rng.integers(60, 90))) for _ in range(60)]
    fasta = tmp_path / "p.fasta"
    fasta.write_text("".join(f">P{i}\n{sequence}\n" for i, sequence in enumerate(proteins)))
    settings = {"d_sae": 48, "k": 4, "n_vectors": 60 * 128, "batch_size": 128, "log_every": 1}
    return TrainRequest(
        proteins=str(fasta),
        plm=str(plm),
        layers=(2,),
        overrides=settings,
        out=tmp_path / "train",
        device="cpu",
    )


def trained_runs(server: Server) -> list[Any]:
    """Return the runs of training, the first one first."""
    store = MlflowClient(server.uri)
    number = store.get_experiment_by_name("plmsae-train").experiment_id
    return store.search_runs([number], order_by=["attributes.start_time ASC"])


def logged_steps(server: Server, run: Any) -> list[int]:
    # At step 0 registering tied the final figures to the model.
    history = MlflowClient(server.uri).get_metric_history(run.info.run_id, "reconstruction/fvu")
    return sorted(point.step for point in history if point.step)


def test_a_server_that_goes_away_in_training_has_every_step_when_it_is_back(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch, training: TrainRequest
) -> None:
    with serving(tmp_path / "s", store_uri) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        outage = Outage(server, monkeypatch)
        (trained,) = train.run(training, outage)
        assert outage.down == list(range(20, 40))
        (run,) = trained_runs(server)
        assert run.info.status == "FINISHED"
        assert logged_steps(server, run) == list(range(1, 61))
        assert resolve(str(trained.model)).meta.extra["train_run"] == run.info.run_id


def test_training_that_a_long_outage_ended_goes_on_with_the_same_command(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch, training: TrainRequest
) -> None:
    monkeypatch.setenv(WAIT, "0")
    with serving(tmp_path / "s", store_uri) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        outage = Outage(server, monkeypatch, back=None)
        with pytest.raises(ServerAwayError, match=r"kept in .*train.*same command"):
            train.run(training, outage)
        assert outage.down == list(range(20, 61))
        server.start()
        (trained,) = train.run(training, Silent())
        first, second = trained_runs(server)
        assert (first.info.status, second.info.status) == ("FAILED", "FINISHED")
        assert logged_steps(server, first) == list(range(1, 61))
        assert resolve(str(trained.model)).meta.extra["train_run"] == second.info.run_id
        assert list(training.out.glob(".unsent-*")) == []
