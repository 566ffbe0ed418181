"""Metrics that are measured after a version was registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from plmsae.registry.models import log_version_metrics, register
from plmsae.tracking.runs import start_run
from plmsae.tracking.store import client


def test_what_a_later_run_did_not_measure_is_said_no_more(
    make_bundle: Callable[..., Any], store_uri: str
) -> None:
    ref = register(make_bundle())
    with start_run(experiment="x") as run:
        log_version_metrics(ref.uri, {"report_median_r": 0.72}, run_id=run.run_id)
        log_version_metrics(
            ref.uri, {"report_n_tested": 0.0, "report_median_r": None}, run_id=run.run_id
        )
    tags = client(store_uri).get_model_version(ref.name, ref.version).tags
    assert tags["report_n_tested"] == "0"
    assert "report_median_r" not in tags


def test_metrics_of_a_later_run_are_attached_to_the_version(
    make_bundle: Callable[..., Any], store_uri: str
) -> None:
    ref = register(make_bundle())
    with start_run(experiment="x") as run:
        log_version_metrics(ref.uri, {"report_median_r": 0.72}, run_id=run.run_id)
        log_version_metrics("some/folder", {"report_median_r": 0.1}, run_id=run.run_id)
    store = client(store_uri)
    assert store.get_model_version(ref.name, ref.version).tags["report_median_r"] == "0.72"
    metrics = store.get_logged_model(ref.model_id).metrics
    assert [(m.key, m.value) for m in metrics if m.key == "report_median_r"] == [
        ("report_median_r", 0.72)
    ]
