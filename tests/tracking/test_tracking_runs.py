"""Runs: parameters, metrics and end states, alone and inside `mlflow run`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mlflow.artifacts
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.core.errors import InputError, QualityError
from plmsae.tracking import runs
from plmsae.tracking.metric_buffer import MetricBuffer
from plmsae.tracking.outage import Point, Unsent
from plmsae.tracking.params import flatten_params
from plmsae.tracking.runs import MAX_PARAM, start_run
from plmsae.tracking.store import (
    client,
    experiment_id,
    redact,
    sqlite_path,
    tracking_uri,
    ui_command,
)


@dataclass(frozen=True)
class Inner:
    k: int = 32
    path: Path = Path("x")


@dataclass(frozen=True)
class Config:
    name: str = "a"
    layers: tuple[int, ...] = (1, 2)
    inner: Inner = field(default_factory=Inner)


def test_a_config_becomes_flat_parameters() -> None:
    assert flatten_params(Config(), prefix="sae") == {
        "sae.name": "a",
        "sae.layers": "[1, 2]",
        "sae.inner.k": "32",
        "sae.inner.path": "x",
    }


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=20), st.text() | st.integers() | st.none(), max_size=5))
def test_parameter_names_are_such_as_mlflow_takes(config: dict[str, object]) -> None:
    from mlflow.utils.validation import _validate_param_name

    for name in flatten_params(config, prefix="p"):
        _validate_param_name(name)


def test_a_run_keeps_parameters_metrics_tags_and_ends_finished(store_uri: str) -> None:
    with start_run("proteins", "first", params=Config(), tags={"plm": "mini"}) as run:
        for step in range(2500):
            run.log_metrics(step, {"loss": 1 / (step + 1), "odd name!": float("nan")})
        run.log_text("hello", "notes/a.txt")
    store = client(store_uri)
    found = store.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "first"
    assert found.data.params["inner.k"] == "32"
    assert found.data.tags["plm"] == "mini"
    assert int(found.data.tags["sys.cores"]) >= 1
    assert found.data.tags["version.torch"]
    history = store.get_metric_history(run.run_id, "loss")
    assert [point.step for point in history] == list(range(2500))
    assert "odd name_" in found.data.metrics
    assert store.get_experiment_by_name("proteins").experiment_id == run.experiment_id


def test_a_long_parameter_is_cut_and_kept_whole_as_an_artifact(store_uri: str) -> None:
    with start_run(params={"text": "x" * 1000}) as run:
        pass
    value = client(store_uri).get_run(run.run_id).data.params["text"]
    assert len(value) == MAX_PARAM
    assert value.endswith("...")
    (kept,) = Path("mlruns").rglob("params.json")
    assert "x" * 1000 in kept.read_text()


def test_a_run_inside_mlflow_run_is_resumed_and_keeps_its_parameters(
    store_uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = client(store_uri)
    started = store.create_run(experiment_id(store, "project"), run_name="by the project")
    store.log_param(started.info.run_id, "lr", "auto")
    store.log_param(started.info.run_id, "k", "32")
    monkeypatch.setenv("MLFLOW_RUN_ID", started.info.run_id)
    with start_run("other", "ours", params={"lr": 0.001, "k": 32}) as run:
        run.log_params({"lr": 0.002})
    assert run.run_id == started.info.run_id
    found = store.get_run(run.run_id)
    assert found.data.params == {"lr": "auto", "k": "32", "effective.lr": "0.001"}
    assert found.info.run_name == "by the project"
    assert found.info.status == "FINISHED"
    assert "lr is already logged with two other values" in caplog.text
    # The next run of the process is a new one.
    with start_run() as other:
        assert other.run_id != run.run_id


def test_a_name_that_mlflow_run_made_up_gives_way(
    store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = client(store_uri)
    started = store.create_run(experiment_id(store, "project"))  # as `mlflow run` does
    monkeypatch.setenv("MLFLOW_RUN_ID", started.info.run_id)
    assert started.info.run_name != "demo"
    with start_run(run_name="demo") as run:
        pass
    assert run.run_id == started.info.run_id
    assert store.get_run(run.run_id).info.run_name == "demo"


def test_a_run_inside_a_run_is_its_child(store_uri: str) -> None:
    with start_run() as parent, start_run(run_name="child") as child:
        pass
    tags = client(store_uri).get_run(child.run_id).data.tags
    assert tags["mlflow.parentRunId"] == parent.run_id
    assert child.experiment_id == parent.experiment_id


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("bad\nluck"), "FAILED"),
        (QualityError("a", "b"), "FAILED"),
        (SystemExit(2), "FAILED"),
        (SystemExit(0), "FINISHED"),
        (KeyboardInterrupt(), "KILLED"),
    ],
)
def test_a_run_ends_as_what_ended_it(store_uri: str, error: BaseException, status: str) -> None:
    ids = []

    def fail() -> None:
        with start_run() as run:
            ids.append(run.run_id)
            run.log_metrics(0, {"x": 1.0})
            raise error

    with pytest.raises(type(error)):
        fail()
    found = client(store_uri).get_run(ids[0])
    assert found.info.status == status
    assert found.data.metrics == {"x": 1.0}
    noted = found.data.tags.get("plmsae.error")
    assert (noted is None) == (status == "FINISHED")
    assert "\n" not in (noted or "")


def test_a_table_is_stored_as_it_is_and_as_mlflow_shows_it(
    store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MAX_ROWS", 2)
    table = pl.DataFrame({"n": [1, 2, 3], "x": [0.5, None, 1.0], "latents": [[1, 2], [], [3]]})
    table.write_parquet(tmp_path / "pairs.parquet")
    with start_run() as run:
        run.log_table(tmp_path / "pairs.parquet", "evaluation")
    store = client(store_uri)
    listed = [entry.path for entry in store.list_artifacts(run.run_id, "evaluation")]
    assert listed == ["evaluation/pairs.json", "evaluation/pairs.parquet"]
    logged = json.loads(store.get_run(run.run_id).data.tags["mlflow.loggedArtifacts"])
    assert logged == [{"path": "evaluation/pairs.json", "type": "table"}]
    whole = mlflow.artifacts.download_artifacts(
        run_id=run.run_id, artifact_path="evaluation/pairs.parquet", tracking_uri=store_uri
    )
    assert pl.read_parquet(whole).equals(table)
    shown = mlflow.tracking.MlflowClient(store_uri).load_table(
        run.experiment_id, "evaluation/pairs.json", run_ids=[run.run_id]
    )
    assert shown["n"].tolist() == [1, 2]
    assert shown["latents"].tolist() == [[1, 2], []]


CHILD = """
import time
from plmsae.tracking.runs import start_run
with start_run(tracking_uri={uri!r}) as run:
    run.log_metrics(1, {{"x": 1.0}})
    print(run.run_id, flush=True)
    time.sleep(60)
"""


def child_environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}


def test_a_terminated_process_leaves_its_run_killed(store_uri: str, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(uri=store_uri)],
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(),
        cwd=tmp_path,
    )
    assert child.stdout is not None
    run_id = child.stdout.readline().strip()
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 143
    found = client(store_uri).get_run(run_id)
    assert found.info.status == "KILLED"
    assert found.data.metrics == {"x": 1.0}


def test_processes_that_start_together_share_one_new_database(
    store_uri: str, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    code = f"from plmsae.tracking.runs import start_run\nwith start_run(tracking_uri={uri!r}): pass"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=child_environment(),
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for _ in range(2)
    ]
    for child in children:
        errors = child.communicate(timeout=120)[1]
        assert child.returncode == 0, errors
    store = client(uri)
    runs = store.search_runs([experiment_id(store)])
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["mlflow.db"]


def test_the_default_store_is_a_file_in_the_working_folder(
    store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking_uri() == store_uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    assert tracking_uri() == "http://tracker:5000"
    assert tracking_uri("sqlite:///x.db") == f"sqlite:///{Path.cwd() / 'x.db'}"


def test_the_environment_is_left_as_it_was(store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)  # Ray, where it was started, leaves one of its own
    with start_run():
        assert os.environ["MLFLOW_TRACKING_URI"] == store_uri
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert signal.getsignal(signal.SIGTERM) is before
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_server_that_is_not_there_is_one_line_and_soon() -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match="is the server up") as caught:
        client("http://user:secret@127.0.0.1:9")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 30


def test_a_store_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError) as caught:
        client(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")
    assert "\n" not in str(caught.value)
    (tmp_path / "mlflow.db").write_text("not a database" * 100)
    with pytest.raises(InputError, match="not a database"):
        client(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_the_ui_command_points_at_the_models(store_uri: str) -> None:
    line = ui_command()
    assert store_uri in line
    assert line.endswith("/#/models")
    assert ui_command("https://me:secret@tracker/") == "https://***@tracker/#/models"


def test_uris_are_told_apart() -> None:
    assert sqlite_path("sqlite:////a/b.db") == Path("/a/b.db")
    assert sqlite_path("sqlite:///:memory:") is None
    assert sqlite_path("http://x") is None
    assert redact("postgresql://me:pw@host/db") == "postgresql://***@host/db"


# --- The metric buffer ---


@pytest.fixture
def unsent(tmp_path: Path) -> Unsent:
    return Unsent(tmp_path, "r1", "http://here")


def test_metrics_arrive_in_order_though_the_store_fails_for_a_while(unsent: Unsent) -> None:
    written: list[Point] = []
    failures = iter([True, False, True, False, False, False])

    def write(points: Sequence[Point]) -> None:
        if next(failures, False):
            raise OSError("server restarts")
        written.extend(points)

    buffer = MetricBuffer(write, unsent, every_s=0.01)
    for step in range(3000):
        buffer.add({"x": step}, step=step)
    while unsent.n_points:
        time.sleep(0.01)
    buffer.close()
    unsent.close()
    assert [point[3] for point in written] == list(range(3000))
    assert not unsent.path.exists()


def test_adding_a_metric_does_not_wait_for_the_store(unsent: Unsent) -> None:
    buffer = MetricBuffer(lambda _points: time.sleep(0.5), unsent, every_s=0.01)
    began = time.monotonic()
    for step in range(1000):
        buffer.add({"x": 1.0}, step=step)
    assert time.monotonic() - began < 0.4
    buffer.close()


def test_what_a_store_that_is_gone_for_good_was_not_given_stays_in_the_file(
    unsent: Unsent,
) -> None:
    def write(_points: Sequence[Point]) -> None:
        raise OSError("gone")

    buffer = MetricBuffer(write, unsent, every_s=0.01)
    for step in range(150_000):  # more than are worth holding in memory
        buffer.add({"x": float("nan") if step == 7 else 0.5}, step=step)
    buffer.close()
    unsent.close()
    head, *entries = [json.loads(line) for line in unsent.path.read_text().splitlines()]
    assert head == {"run_id": "r1", "uri": "http://here"}
    assert [entry["step"] for entry in entries] == list(range(150_000))
    assert [entry["metrics"] for entry in entries[6:8]] == [{"x": 0.5}, {"x": "nan"}]


def test_where_no_file_can_be_written_measurements_wait_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    unsent = Unsent(tmp_path / "file", "r1", "http://here")
    written: list[Point] = []
    buffer = MetricBuffer(written.extend, unsent, every_s=0.01)
    buffer.add({"x": 1.0}, step=3)
    buffer.close()
    assert [(point[0], point[3]) for point in written] == [("x", 3)]
    assert "only in memory" in caplog.text
