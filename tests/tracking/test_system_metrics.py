"""How busy the machine was during a run, beside what the system itself says."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import psutil
import pytest

from plmsae.tracking.runs import start_run
from plmsae.tracking.store import client
from plmsae.tracking.system_metrics import sampled


def test_a_run_that_asks_for_it_has_the_metrics_that_mlflow_shows(store_uri: str) -> None:
    with start_run(system_metrics=True) as run:
        pass
    with start_run() as other:
        pass
    metrics = client(store_uri).get_run(run.run_id).data.metrics
    names = {"cpu_utilization_percentage", "system_memory_usage_megabytes", "disk_usage_percentage"}
    assert {f"system/{name}" for name in names} <= set(metrics)
    here = psutil.Process().memory_info().rss / 1e6
    assert metrics["system/process_memory_megabytes"] == pytest.approx(here, rel=0.5)
    used = psutil.virtual_memory().total / 1e6
    assert 0 < metrics["system/system_memory_usage_megabytes"] < used
    assert not client(store_uri).get_run(other.run_id).data.metrics


def test_samples_are_numbered_and_end_with_the_block() -> None:
    taken: list[int] = []
    three = threading.Event()

    def log(number: int, metrics: Mapping[str, float]) -> None:
        taken.append(number)
        if number >= 2:
            three.set()

    with sampled(log, every_s=0.001):
        assert three.wait(30)
    assert taken == list(range(len(taken)))
    assert "plmsae-system-metrics" not in {thread.name for thread in threading.enumerate()}
