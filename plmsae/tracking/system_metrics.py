"""How busy the machine is during a run: CPU, memory, disk, network and GPUs, now and then.

MLflow's own thread asks the server before each sample and ends at the first answer that fails, so
that nothing is measured after an outage. Here the samples go through the `MetricBuffer` of the run.
What is measured, and the names, are MLflow's: its page of a run shows them under *System metrics*.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_LOG = logging.getLogger(__name__)

EVERY_S = 10.0
"""Seconds between samples."""


@contextmanager
def sampled(
    log: Callable[[int, Mapping[str, float]], None], *, every_s: float = EVERY_S
) -> Iterator[None]:
    """Log the state of the machine while the block runs, and once at its end.

    Parameters
    ----------
    log : callable
        Takes the number of the sample, from 0, and the metrics (``system/…``).
    every_s : float, optional
        Seconds between samples.
    """
    import psutil

    monitors = _monitors()
    ended = threading.Event()

    def sample() -> None:
        number = 0
        while True:
            last = ended.wait(every_s)
            try:
                log(number, _measure(monitors))
            except (OSError, psutil.Error) as error:  # of a container that hides its own numbers
                _LOG.debug("the machine could not be measured: %s", error)
            number += 1
            if last:
                return

    thread = threading.Thread(target=sample, name="plmsae-system-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=60)


def _monitors() -> list[Any]:
    import psutil
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    psutil.cpu_percent()  # The first answer is 0; later ones are of the time since the one before.
    kinds: tuple[Any, ...] = (CPUMonitor, DiskMonitor, NetworkMonitor)  # they have no types
    of_gpus: Any = GPUMonitor
    monitors = [kind() for kind in kinds]
    try:
        monitors.append(of_gpus())
    except Exception:  # noqa: BLE001 (no GPU, no driver or no library that asks it: each its own)
        return monitors
    return monitors


def _measure(monitors: list[Any]) -> dict[str, float]:
    import psutil

    process = psutil.Process().memory_info().rss / 1e6
    metrics = {"system/process_memory_megabytes": round(process, 1)}
    for monitor in monitors:
        monitor.collect_metrics()
        metrics |= {f"system/{k}": float(v) for k, v in monitor.aggregate_metrics().items()}
        monitor.clear_metrics()
    return metrics
