"""Calls to language models as MLflow traces of a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from plmsae.tracking.runs import Run
from plmsae.tracking.store import client, import_mlflow

_LOG = logging.getLogger(__name__)


def trace_call(
    run: Run,
    name: str,
    *,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    attributes: Mapping[str, Any],
    seconds: float,
    error: str = "",
) -> None:
    """Record one call, that has ended, as a trace of a run. What MLflow refuses is only logged.

    Parameters
    ----------
    name : str
        What was asked.
    inputs, outputs, attributes : mapping
        In types that JSON has.
    seconds : float
        How long the call took.
    error : str
        Why there is no output.
    """
    mlflow = import_mlflow()
    end = time.time_ns()
    try:
        span = mlflow.start_span_no_context(
            name=name,
            span_type="CHAT_MODEL",
            inputs=dict(inputs),
            attributes=dict(attributes),
            experiment_id=run.experiment_id,
            start_time_ns=end - int(seconds * 1e9),
        )
        if error:
            span.set_attribute("error", error)
        span.set_outputs(dict(outputs))
        span.end(end_time_ns=end, status="ERROR" if error else "OK")
        client(run.tracking_uri).link_traces_to_run([span.trace_id], run.run_id)
    except Exception as problem:  # a trace is not worth a run  # noqa: BLE001
        _LOG.warning("a call could not be traced: %s", type(problem).__name__)
