"""What the demo's own MLflow run shows: its results as metrics and as a page."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from plmsae.workflows.demo import DemoOutcome


def outcome() -> Any:
    """A demo's outcome with the numbers that its table shows."""
    summary = {"n_features_f1_50": 9.0, "n_concepts_f1_50": 2.0, "n_concepts_callable": 1.0}
    return DemoOutcome(
        out=Path("demo-out"),
        seconds=60.0,
        tables=SimpleNamespace(n_choose=1, n_report=2, n_held_back=3),
        trained=SimpleNamespace(metrics={"explained_variance": 0.9, "l0": 32.0}),
        evaluated=SimpleNamespace(summary=summary, model="M/1", top_concepts=[]),
        scored=SimpleNamespace(n_scored=3, n_annotations=7, folder=Path("demo-out/<scores>")),
        filled=SimpleNamespace(n_proposed=4, folder=Path("demo-out/fill"), backtest=[]),
        reported=SimpleNamespace(pages={"html": Path("demo-out/report/report.html")}),
        gates="8 of 8 met",
        ui="mlflow ui",
    )  # type: ignore[arg-type]


def test_the_results_are_metrics_by_step_and_equal_the_table():
    found = outcome().metrics()
    assert found["train/explained_variance"] == 0.9
    assert found["evaluate/n_concepts_f1_50"] == 2.0
    assert found["score/n_annotations"] == 7.0
    assert found["fill/n_proposed"] == 4.0
    assert "train/loss_recovered" not in found
