"""Runs and models on real MLflow servers: over PostgreSQL, killed in the middle, and serving."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow_servers import free_port, postgres, scorable_bundle, serving

from plmsae.registry.lineage import lineage
from plmsae.registry.models import register, resolve
from plmsae.registry.promotion import promote, promotion_log
from plmsae.scoring.pyfunc import COLUMNS
from plmsae.tracking.runs import start_run
from plmsae.workflows import score
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import ScoreRequest

# store_uri: a folder of its own, with an SQLite store that has its tables already.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("store_uri")]
ROOT = Path(__file__).resolve().parents[2]
NAME = "plmsae.plmsae-mini.L1.residue"
FASTA = ">P1\nMKTAYIAKQRQISFVKSHFSRQMKTAYIAKQRQISFVKSHFSRQ\n>P2\nMSDNEWWGHCCACDEFGHIKLMNPQRSTVWY\n"


def test_postgresql_and_http_artifacts_hold_a_model_from_registration_to_scoring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.fasta").write_text(FASTA)
    with postgres() as database, serving(tmp_path / "s", database) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        with start_run(experiment="made", run_name="maker") as run:
            register(scorable_bundle(tmp_path / "one"), run_id=run.run_id)
        promote(f"{NAME}/1")
        outcome = score.run(
            ScoreRequest(
                proteins=str(tmp_path / "in.fasta"),
                model=f"{NAME}@champion",
                out=tmp_path / "scores",
                device="cpu",
            ),
            Silent(),
        )
        assert outcome.n_scored == 2
        assert outcome.n_annotations > 0
        store = MlflowClient(server.uri)
        number = store.get_experiment_by_name("plmsae-score").experiment_id
        (listed,) = store.search_runs([number])
        scored = store.get_run(listed.info.run_id)
        used = [model.model_id for model in scored.inputs.model_inputs]
        assert used == [lineage(NAME).model_id]
        assert [d.dataset.name for d in scored.inputs.dataset_inputs] == ["in.fasta"]
        assert {file.path for file in store.list_artifacts(listed.info.run_id)} >= {"manifest.json"}
        assert promotion_log(NAME)["to"].to_list() == ["1"]
        # Files are the server's: nothing of the model lies where the client works.
        assert not (tmp_path / "mlruns").exists()
        assert resolve(NAME).digest


def test_a_server_that_is_killed_and_comes_back_has_every_measurement(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path / "s", store_uri) as server:
        with start_run(experiment="e", tracking_uri=server.uri) as run:
            for step in range(100):
                run.log_metrics(step, {"loss": float(step)})
            run.flush()
            server.kill()
            # So that the attempts below end soon; they are made again later.
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            for step in range(100, 200):
                run.log_metrics(step, {"loss": float(step)})
            run.flush()  # in vain
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "10")
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
            # What waits for no buffer is tried again until the server is back.
            back = threading.Thread(target=lambda: (time.sleep(2), server.start()))
            back.start()
            run.set_tags({"during": "the outage"})
            run.log_text("kept", "note.txt")
            back.join()
            for step in range(200, 300):
                run.log_metrics(step, {"loss": float(step)})
        store = MlflowClient(server.uri)
        found = store.get_run(run.run_id)
        assert found.info.status == "FINISHED"
        assert found.data.tags["during"] == "the outage"
        history = store.get_metric_history(run.run_id, "loss")
        points = [(point.step, point.value) for point in history]
        assert sorted(points) == [(step, float(step)) for step in range(300)]
        path = store.download_artifacts(run.run_id, "note.txt", str(tmp_path))
        assert Path(path).read_text() == "kept"


@pytest.fixture
def registered(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, pd.DataFrame]:
    """Register a model in SQLite; return its URI and what it predicts in this process."""
    import mlflow.pyfunc

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri)
    uri = register(scorable_bundle(tmp_path / "one")).uri
    loaded = mlflow.pyfunc.load_model(uri)
    return uri, loaded.predict(pd.DataFrame(proteins()))


def proteins() -> list[dict[str, str]]:
    records = [record.split("\n") for record in FASTA.split(">")[1:]]
    return [{"accession": name, "sequence": sequence} for name, sequence, *_ in records]


def check_rows(found: list[dict[str, object]], expected: pd.DataFrame) -> None:
    """Compare what came as JSON with a table."""
    assert len(expected) == 2
    for column in COLUMNS:
        values, wanted = [row[column] for row in found], expected[column].tolist()
        if column in ("latents", "implied"):
            wanted = [list(value) for value in wanted]
        if column in ("score", "precision", "precision_low", "probability"):
            wanted = pytest.approx(wanted)
        assert values == wanted


def test_mlflow_models_predict_gives_what_the_model_gives(
    tmp_path: Path, registered: tuple[str, pd.DataFrame]
) -> None:
    uri, expected = registered
    (tmp_path / "in.json").write_text(json.dumps({"dataframe_records": proteins()}))
    command = [
        *(sys.executable, "-m", "mlflow", "models", "predict", "--model-uri", uri),
        *("--env-manager", "local", "--content-type", "json"),
        *("--input-path", str(tmp_path / "in.json"), "--output-path", str(tmp_path / "out.json")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "out.json").read_text())["predictions"]
    assert set(found[0]) == set(COLUMNS)
    check_rows(found, expected)


def test_mlflow_models_serve_gives_what_the_model_gives(
    tmp_path: Path, registered: tuple[str, pd.DataFrame]
) -> None:
    uri, expected = registered
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", uri),
        *("--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)),
    ]
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        body = json.dumps({"dataframe_records": proteins()}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            data=body,
            headers={"Content-Type": "application/json"},
        )
        for _ in range(120):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    found = json.load(answer)["predictions"]
                break
            except urllib.error.HTTPError:
                raise
            except OSError:
                assert process.poll() is None, (tmp_path / "serve.log").read_text()[-2000:]
                time.sleep(1)
        check_rows(found, expected)
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def test_the_files_for_a_container_install_the_model_and_it_predicts(
    tmp_path: Path, registered: tuple[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of docs/registry.md, up to those of Docker; what they set up is used here."""
    uri, expected = registered
    page = (ROOT / "docs" / "registry.md").read_text(encoding="utf-8")
    (block,) = [b for b in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "dockerfile" in b]
    generate, wheel, edit, build, _ = block.splitlines()
    assert build.startswith("docker build")
    generate = re.sub(r"models:/\S+", uri, generate)
    wheel = wheel.removesuffix(".") + str(ROOT)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for line in (generate, wheel, edit):
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=240
        )
        if "hatchling" in done.stderr and done.returncode:
            pytest.skip("no wheel can be built here: hatchling is not to be had")
        assert done.returncode == 0, done.stderr[-2000:]
    image = tmp_path / "image"
    steps = (image / "Dockerfile").read_text().splitlines()
    found_at = [
        next(i for i, step in enumerate(steps) if step.startswith(start))
        for start in ("COPY wheels /wheels", "ENV PIP_FIND_LINKS=/wheels", "COPY model_dir ")
    ]
    assert found_at == sorted(found_at)
    assert "C._install_pyfunc_deps(" in steps[found_at[-1] + 1]

    # What that step installs, without the packages that are here already.
    needed = (image / "model_dir" / "requirements.txt").read_text().splitlines()
    (ours,) = [line for line in needed if line.startswith("plmsae")]
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", "site"]
    environment = os.environ | {"PIP_FIND_LINKS": str(image / "wheels")}
    subprocess.run([*pip, ours], env=environment, cwd=tmp_path, check=True, capture_output=True)
    ask = (
        "import sys, json, pandas, plmsae, mlflow.pyfunc\n"
        "model = mlflow.pyfunc.load_model('image/model_dir')\n"
        "rows = model.predict(pandas.DataFrame(json.loads(sys.argv[1])))\n"
        "print(plmsae.__file__); print(rows.to_json(orient='records'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask, json.dumps(proteins())],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    where, rows = done.stdout.splitlines()
    assert Path(where).is_relative_to(tmp_path / "site")
    check_rows(json.loads(rows), expected)


def test_a_webhook_of_the_server_tells_of_a_promotion(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of docs/registry.md: MLflow calls an address when `champion` moves."""
    heard: list[dict[str, object]] = []
    came = threading.Event()

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            came.set()

        def log_message(self, *_: object) -> None:
            pass

    listener = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    # MLflow calls no private address unless told to, and only over https unless told otherwise.
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    try:
        with serving(tmp_path / "s", store_uri) as server:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
            page = (ROOT / "docs" / "registry.md").read_text(encoding="utf-8")
            (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
            block = block.replace("https://mlflow.example.org", server.uri).replace(
                "https://example.org/hook", f"http://127.0.0.1:{listener.server_port}/"
            )
            exec(compile(block, "docs/registry.md", "exec"), {})
            register(scorable_bundle(tmp_path / "one"), aliases=())
            promote(f"{NAME}/1")
            assert came.wait(60)
    finally:
        listener.shutdown()
    (told,) = heard
    assert told["data"] == {"name": NAME, "alias": "champion", "version": "1"}
