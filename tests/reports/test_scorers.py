"""The scorers inside mlflow.genai.evaluate itself."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from held_out_world import world

from plmsae.reports.describe import describe_all
from plmsae.reports.scorers import evaluation_rows, scorers


def test_mlflow_evaluates_reports_with_the_scores_that_reports_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_GENAI_EVAL_MAX_WORKERS", "1")
    (report,) = describe_all(world(labelled=False), client=None)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    try:
        mlflow.set_experiment("scorers")
        found = mlflow.genai.evaluate(data=evaluation_rows([report]), scorers=scorers())
    finally:
        mlflow.set_tracking_uri(None)
    assert report.test is not None
    assert found.metrics["activation_r/mean"] == pytest.approx(report.test.r, abs=1e-3)
    assert found.metrics["detection_accuracy/mean"] == pytest.approx(report.test.detection)
    assert found.metrics["above_relatives/mean"] == pytest.approx(report.test.relatives)
