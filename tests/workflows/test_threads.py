"""On how many cores a workflow computes, in processes that import the libraries when it runs."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from plmsae.core.errors import InputError
from plmsae.workflows.shared import requests
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.threads import on_threads

# What the libraries compute on while a workflow runs, and after.
CHILD = """
import json, os, sys
from types import SimpleNamespace
from plmsae.workflows.shared.threads import on_threads
def found():
    import numpy, polars, torch
    from threadpoolctl import threadpool_info
    pools = sorted({pool["num_threads"] for pool in threadpool_info()})
    return [torch.get_num_threads(), pools, polars.thread_pool_size(), os.getenv("OMP_NUM_THREADS")]
asked = json.loads(sys.argv[1])
run = on_threads(lambda request, progress: found())
inside = run(SimpleNamespace(threads=asked), None)
print(json.dumps([inside, found()]))
"""


def told(asked: int | None, omp: str | None = None) -> tuple[list[object], list[object]]:
    environment = dict(os.environ)
    environment.pop("OMP_NUM_THREADS", None)
    if omp is not None:
        environment["OMP_NUM_THREADS"] = omp
    command = [sys.executable, "-c", CHILD, json.dumps(asked)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    inside, after = json.loads(done.stdout)
    return inside, after


def test_a_workflow_computes_on_as_many_threads_as_it_is_told() -> None:
    cores = len(os.sched_getaffinity(0))
    inside, after = told(1)
    assert inside == [1, [1], 1, "1"]
    assert (after[0], after[3]) == (cores, None)
    # It goes before what the environment says.
    inside, after = told(1, omp=str(cores))
    assert inside == [1, [1], 1, "1"]
    assert (after[0], after[3]) == (cores, str(cores))


def test_without_the_option_it_takes_all_cores_or_what_the_environment_says() -> None:
    assert told(None)[0][0] == len(os.sched_getaffinity(0))
    assert told(None, omp="1")[0][0] == 1


@pytest.mark.parametrize("name", ["train", "evaluate", "score", "fill", "report"])
def test_the_workflow_does_what_the_option_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(threads: int | None) -> None:
        raise InputError(f"asked for {threads}")

    monkeypatch.setattr("plmsae.workflows.shared.threads.computing_on", asked)
    workflow = importlib.import_module(f"plmsae.workflows.{name}")
    request = {
        "train": requests.TrainRequest(proteins="p", threads=3),
        "evaluate": requests.EvaluateRequest(model="m", concepts="c", threads=3),
        "score": requests.ScoreRequest(proteins="p", threads=3),
        "fill": requests.FillRequest(table="t", threads=3),
        "report": requests.ReportRequest(model="m", proteins="p", threads=3),
    }[name]
    with pytest.raises(InputError, match="asked for 3"):
        workflow.run(request, None)


def test_the_number_before_comes_back_after_an_error() -> None:
    import torch

    before = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    seen = []

    def work(request: SimpleNamespace, progress: Silent) -> None:
        seen.append(torch.get_num_threads())
        raise InputError("broken")

    with pytest.raises(InputError, match="broken"):
        on_threads(work)(SimpleNamespace(threads=before[0] + 1), Silent())
    assert seen == [before[0] + 1]
    assert (torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")) == before
