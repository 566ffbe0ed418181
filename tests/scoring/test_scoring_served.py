"""A saved model, through MLflow itself: loaded in this process, and served over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow.models import infer_signature
from tiny import save_tiny
from tiny_bundle import tiny_concepts, tiny_features, tiny_meta

from plmsae.bundle.writing import write_bundle
from plmsae.encode import Encoder
from plmsae.plm.model import load_plm
from plmsae.registry.mlflow_model import save_model_folder
from plmsae.sae.config import SaeConfig
from plmsae.sae.model import build_sae

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "ACDEFGHIKLMNPQRSTVWY"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow model of a tiny PLM and SAE that call a concept somewhere."""
    place = tmp_path_factory.mktemp("served")
    plm = load_plm(str(save_tiny(place / "tiny")), device="cpu")
    sae = build_sae(SaeConfig(d_in=16, d_sae=6, k=2))
    sae.save(place / "sae")
    latents = Encoder(plm, 2, sae).encode(SEQUENCES)
    fires = int(np.argmax(sum(x.sum(axis=0) for x in latents)))
    highest = max(float(x.max()) for x in latents)
    bundle = write_bundle(
        place / "bundle",
        sae_folder=place / "sae",
        meta=tiny_meta(
            plm=str(place / "tiny"), plm_revision=plm.revision, layer=2, d_in=16, d_sae=6,
            plm_vocabulary=plm.vocabulary.fingerprint, min_precision=0.5,
        ),
        features=tiny_features().with_columns(max_activation=pl.lit(highest)),
        concepts=tiny_concepts().with_columns(
            call_latent=pl.lit(fires, pl.Int64), call_threshold=pl.lit(0.01), min_length=pl.lit(1)
        ),
    )  # fmt: skip
    save_model_folder(place / "model", bundle, model_id="m-1", run_id=None)
    return place / "model"


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Any:
    return mlflow.pyfunc.load_model(str(folder))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return found


def strict_json(text: bytes) -> Any:
    """Read JSON as its standard has it; Python alone would take NaN."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_list_of_sequences_gives_what_a_table_gives(loaded: Any) -> None:
    table = loaded.predict(pd.DataFrame({"sequence": SEQUENCES}))
    assert table.shape[0] > 0
    assert set(table["accession"]) <= {"1", "2"}
    for same in (SEQUENCES, np.array(SEQUENCES), pd.Series(SEQUENCES), {"sequence": SEQUENCES},
                 [{"sequence": s} for s in SEQUENCES]):  # fmt: skip
        assert records(loaded.predict(same)) == records(table)
    numbered = loaded.predict(pd.DataFrame({"sequence": SEQUENCES, "accession": [71, 72]}))
    assert set(numbered["accession"]) == {"7" + name for name in table["accession"]}
    one = loaded.predict(SEQUENCES[0])
    assert records(one) == [row for row in records(table) if row["accession"] == "1"]
    assert loaded.predict([]).empty


def test_one_row_for_each_sequence_holds_the_same_annotations(loaded: Any) -> None:
    sequences = [SEQUENCES[1], SEQUENCES[0], SEQUENCES[1], "GG"]
    found = loaded.predict(
        pd.DataFrame({"sequence": sequences, "accession": ["A", "B", "A", "C"]}),
        params={"per_sequence": True},
    )
    assert list(found.columns) == ["annotations"]
    assert len(found) == 4
    # As many digits as pandas gives.
    lists = [json.loads(x, parse_float=lambda x: round(float(x), 10)) for x in found["annotations"]]
    every = records(loaded.predict(sequences))
    for name, one in enumerate(lists, 1):
        assert [{"accession": str(name), **row} for row in one] == [
            row for row in every if row["accession"] == str(name)
        ]
    assert lists[0] == lists[2]
    assert lists[0] or lists[1]


def test_it_returns_what_its_signature_says(loaded: Any) -> None:
    found = loaded.predict(SEQUENCES)
    assert found["probability"].tolist() == [None] * len(found)  # it has no calibrator
    stated = loaded.metadata.signature.outputs
    returned = infer_signature(None, found.assign(probability=0.5)).outputs
    assert returned is not None
    assert {c.name: c.type for c in returned} == {c.name: c.type for c in stated}
    assert list(found.columns) == stated.input_names()
    assert loaded.predict(SEQUENCES, params={"min_precision": 0.99}).empty


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["MKV", "AA1A"], "row 2: illegal character at position 3"),
        ([1, 2], "row 1: a sequence is empty or not text"),
        ({"seq": ["MKV"]}, "no column 'sequence'"),
        ({"sequence": ["MKV", "A"], "accession": ["P"]}, "the input is no table"),
    ],
)
def test_a_wrong_input_is_one_clear_line(given: Any, said: str, loaded: Any) -> None:
    with pytest.raises(mlflow.MlflowException, match=said):
        loaded.predict(given)


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """``mlflow models serve`` of the model, on a free port."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder)]
    command += ["--env-manager", "local", "--workers", "1", "--host", "127.0.0.1"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    root = str(Path(__file__).resolve().parents[2])
    server = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=folder.parent,
        env=os.environ | {"PATH": path, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=60)


@pytest.mark.slow
def test_an_http_client_may_send_a_list_or_a_table(address: str, loaded: Any) -> None:
    def ask(content: dict[str, Any]) -> tuple[int, Any]:
        request = urllib.request.Request(
            address, json.dumps(content).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, strict_json(answer.read())["predictions"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    expected = records(loaded.predict(SEQUENCES))
    for content in (
        {"inputs": SEQUENCES},
        {"instances": SEQUENCES},
        {"inputs": {"sequence": SEQUENCES}},
        {"dataframe_records": [{"sequence": s} for s in SEQUENCES]},
        {"dataframe_split": {"columns": ["sequence"], "data": [[s] for s in SEQUENCES]}},
    ):
        status, rows = ask(content)
        assert status == 200, rows
        for row, known in zip(rows, expected, strict=True):
            assert row["probability"] is None
            assert row.pop("score") == pytest.approx(known["score"], rel=1e-5)
            assert row == {name: value for name, value in known.items() if name != "score"}
    status, answer = ask({"inputs": ["AA1A"]})
    assert status == 400
    assert "row 1: illegal character at position 3" in answer["message"]
    assert "stack_trace" not in answer
