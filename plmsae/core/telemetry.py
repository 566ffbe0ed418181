"""Nothing leaves this machine unless the user says so."""

from __future__ import annotations

import os


def switch_off_telemetry() -> None:
    """Switch off the usage reports of MLflow and Great Expectations, unless they were chosen."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
