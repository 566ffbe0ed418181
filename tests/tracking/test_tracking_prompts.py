"""Prompts and calls of language models in MLflow."""

from __future__ import annotations

from plmsae.tracking.prompts import register_prompt
from plmsae.tracking.runs import start_run
from plmsae.tracking.store import client
from plmsae.tracking.traces import trace_call


def test_a_prompt_is_registered_once_for_each_text_and_its_version_is_logged(
    store_uri: str,
) -> None:
    with start_run(experiment="x") as run:
        first = register_prompt(run, "plmsae-a", "one", version=1, sha256="1")
        again = register_prompt(run, "plmsae-a", "one", version=1, sha256="1")
    with start_run(experiment="x") as later:
        second = register_prompt(later, "plmsae-a", "two", version=2, sha256="2")
    assert (first, again, second) == (1, 1, 2)
    store = client(store_uri)
    assert store.get_prompt_version("plmsae-a", 2).template == "two"
    params = store.get_run(later.run_id).data.params
    assert params["prompt.plmsae-a.version"] == "2"
    assert params["prompt.plmsae-a.sha256"] == "2"


def test_a_call_becomes_a_trace_of_the_run(store_uri: str) -> None:
    with start_run(experiment="x") as run:
        trace_call(
            run, "describe feature 3", inputs={"model": "m"}, outputs={}, attributes={"cost": 0.5},
            seconds=2.0, error="refusal",
        )  # fmt: skip
    (trace,) = client(store_uri).search_traces(locations=[run.experiment_id], run_id=run.run_id)
    (span,) = trace.data.spans
    assert span.name == "describe feature 3"
    assert span.inputs == {"model": "m"}
    assert span.attributes["error"] == "refusal"
