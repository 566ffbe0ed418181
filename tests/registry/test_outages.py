"""A server that is away for longer than MLflow tries: nothing logged is lost, and what then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow_servers import Server, losing_answers, scorable_bundle, serving

from plmsae.core.errors import InputError
from plmsae.registry.models import register
from plmsae.tracking.outage import WAIT, ServerAwayError
from plmsae.tracking.runs import Run, start_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("store_uri")]


@pytest.fixture(autouse=True)
def _short_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    # An outage then outlives MLflow's own attempts at once.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def steps(server: Server, run_id: str) -> list[int]:
    history = MlflowClient(server.uri).get_metric_history(run_id, "loss")
    return sorted(point.step for point in history)


def log(run: Run, first: int, last: int) -> None:
    for step in range(first, last):
        run.log_metrics(step, {"loss": float(step)})


def kept_in(folder: Path) -> list[Path]:
    return list(folder.glob(".unsent-*"))


@pytest.mark.parametrize("with_folder", [True, False])
def test_what_an_outage_kept_the_next_command_sends(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch, with_folder: bool
) -> None:
    out = tmp_path / "out" if with_folder else None
    monkeypatch.setenv(WAIT, "1")
    runs: list[Run] = []

    def broken_off(server: Server) -> None:
        with start_run(experiment="e", tracking_uri=server.uri, folder=out) as run:
            runs.append(run)
            log(run, 0, 50)
            run.flush()
            server.kill()
            log(run, 50, 500)
            run.log_text("note", "note.txt")

    with serving(tmp_path / "s", store_uri) as server:
        with pytest.raises(ServerAwayError) as caught:
            broken_off(server)
        (kept,) = kept_in(out or tmp_path / "cache" / "unsent")
        line = str(caught.value)
        assert "450 measurements and the end of run" in line
        assert str(kept) in line
        assert WAIT in line
        assert "the same command goes on" in line
        assert "\n" not in line
        assert caught.value.exit_code == 2
        (run,) = runs
        server.start()
        assert steps(server, run.run_id) == list(range(50))
        with start_run(experiment="e", tracking_uri=server.uri, folder=out) as again:
            assert steps(server, run.run_id) == list(range(500))
            log(again, 0, 3)
        found = MlflowClient(server.uri).get_run(run.run_id)
        assert found.info.status == "FAILED"
        assert "did not answer for 1 s" in found.data.tags["plmsae.error"]
        assert not kept.exists()
        assert steps(server, again.run_id) == [0, 1, 2]


def test_calls_of_a_run_wait_for_the_server_and_then_go_on(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WAIT, "300")
    bundle = scorable_bundle(tmp_path / "one")
    with serving(tmp_path / "s", store_uri) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        with start_run(experiment="e", folder=tmp_path / "out") as run:
            server.kill()
            log(run, 0, 20)
            back = threading.Thread(target=lambda: (time.sleep(3), server.start()))
            back.start()
            run.set_tags({"during": "the outage"})
            run.log_text("kept", "note.txt")
            ref = register(bundle, run_id=run.run_id)
            server.kill()
            log(run, 20, 40)
            back.join()
            back = threading.Thread(target=lambda: (time.sleep(3), server.start()))
            back.start()
        back.join()
        assert not kept_in(tmp_path / "out")
        found = MlflowClient(server.uri).get_run(run.run_id)
        assert found.info.status == "FINISHED"
        assert found.data.tags["during"] == "the outage"
        assert steps(server, run.run_id) == list(range(40))
        assert MlflowClient(server.uri).get_model_version(ref.name, ref.version).run_id


def test_a_registration_that_the_outage_breaks_off_is_told_as_such(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WAIT, "0")
    bundle = scorable_bundle(tmp_path / "one")
    uploading = MlflowClient.log_model_artifacts

    def registering(server: Server) -> None:
        def killed(self: MlflowClient, model_id: str, folder: str) -> None:
            server.kill()
            uploading(self, model_id, folder)

        monkeypatch.setattr(MlflowClient, "log_model_artifacts", killed)
        with start_run(experiment="e", folder=tmp_path / "out") as run:
            register(bundle, run_id=run.run_id)

    with serving(tmp_path / "s", store_uri) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        with pytest.raises(ServerAwayError, match=r"kept in .*: the end of run"):
            registering(server)
        monkeypatch.setattr(MlflowClient, "log_model_artifacts", uploading)
        server.start()
        with start_run(experiment="e", folder=tmp_path / "out") as run:
            assert register(bundle, run_id=run.run_id).version == "1"


@pytest.mark.parametrize("retries", ["0", "3"])
def test_a_version_whose_answer_was_lost_is_not_registered_twice(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch, retries: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    bundle = scorable_bundle(tmp_path / "one")
    with serving(tmp_path / "s", store_uri) as server, losing_answers(server) as (uri, lost):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with start_run(experiment="e") as run:
            ref = register(bundle, run_id=run.run_id)
        (path,) = lost
        assert path.endswith("/model-versions/create")
        (version,) = MlflowClient(server.uri).search_model_versions(f"name = '{ref.name}'")
        assert (str(version.version), version.run_id) == ("1", run.run_id)
        assert (ref.version, ref.model_id) == ("1", version.source.removeprefix("models:/"))
        assert version.description


def test_the_end_alone_is_kept_and_sent(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WAIT, "0")
    runs: list[Run] = []

    def unended(server: Server) -> None:
        with start_run(experiment="e", tracking_uri=server.uri, folder=tmp_path / "o") as run:
            runs.append(run)
            server.kill()

    with serving(tmp_path / "s", store_uri) as server:
        with pytest.raises(ServerAwayError, match="the end of run"):
            unended(server)
        server.start()
        store = MlflowClient(server.uri)
        assert store.get_run(runs[0].run_id).info.status == "RUNNING"
        with start_run(experiment="e", tracking_uri=server.uri, folder=tmp_path / "o"):
            pass
        assert store.get_run(runs[0].run_id).info.status == "FINISHED"


def test_what_fails_by_itself_in_an_outage_is_what_is_told(
    tmp_path: Path,
    store_uri: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(WAIT, "300")  # a run that failed does not wait

    def failing(server: Server) -> None:
        with start_run(experiment="e", tracking_uri=server.uri, folder=tmp_path / "o") as run:
            server.kill()
            log(run, 0, 5)
            raise InputError("of its own")

    with serving(tmp_path / "s", store_uri) as server:
        with pytest.raises(InputError, match=r"^of its own$"):
            failing(server)
        assert "5 measurements and the end of run" in caplog.text
        assert len(kept_in(tmp_path / "o")) == 1


KILLED = """
import sys
from pathlib import Path
from plmsae.tracking.runs import start_run
with start_run(experiment="e", folder=Path(sys.argv[1])) as run:
    print(run.run_id, flush=True)
    sys.stdin.readline()  # The server is killed meanwhile.
    for step in range(300):
        run.log_metrics(step, {"loss": float(step)})
    print("logged", flush=True)
    sys.stdin.readline()
"""


def test_a_process_killed_in_an_outage_loses_nothing_and_a_living_one_is_left_alone(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7"
    )  # Its thread is in MLflow's attempts.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    with serving(tmp_path / "s", store_uri) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "out")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            run_id = process.stdout.readline().strip()
            server.kill()
            process.stdin.write("\n")
            assert process.stdout.readline() == "logged\n"
            server.start()
            (kept,) = kept_in(tmp_path / "out")
            with start_run(experiment="e", folder=tmp_path / "out"):
                assert kept.exists()
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        with kept.open("ab") as file:
            file.write(b'{"at":1,"step":300,"met')  # half a line
        with start_run(experiment="e", folder=tmp_path / "out"):
            pass
        assert not kept.exists()
        assert steps(server, run_id) == list(range(300))


def test_what_is_kept_for_another_store_stays(tmp_path: Path, store_uri: str) -> None:
    kept = tmp_path / ".unsent-r1.jsonl"
    head = {"run_id": "r1", "uri": "http://elsewhere"}
    kept.write_text(json.dumps(head) + "\n")
    with start_run(experiment="e", folder=tmp_path):
        pass
    assert kept.exists()


def test_a_run_that_the_store_lost_is_no_reason_to_end_another(
    tmp_path: Path, store_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept = tmp_path / ".unsent-r1.jsonl"
    entries = [{"run_id": "r1", "uri": store_uri}, {"at": 1, "step": 0, "metrics": {"x": 1.0}}]
    kept.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    with start_run(experiment="e", folder=tmp_path):
        pass
    assert kept.exists()
    assert str(kept) in caplog.text
