"""What a gate leaves in MLflow: counts, verdicts, pages; and warnings on what is registered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from plmsae.bundle.card import model_card
from plmsae.bundle.meta import QUALITY_WARNINGS
from plmsae.core.errors import QualityError
from plmsae.quality.report import warnings_in_words
from plmsae.registry.models import register
from plmsae.tracking.runs import start_run
from plmsae.tracking.store import client
from plmsae.workflows.shared.inputs import gate


def labels(start: int = 1) -> pl.DataFrame:
    return pl.DataFrame(
        {"accession": ["P1"] * 2, "start": [start] * 2, "end": [9] * 2, "concept": ["Motif"] * 2}
    )


def test_a_run_has_the_counts_the_verdict_and_the_page_of_its_gates(
    store_uri: str, tmp_path: Path
) -> None:
    with start_run() as run:
        report = gate("labels", labels(), tmp_path / "q", {}, run)
    found = client(store_uri).get_run(run.run_id).data
    counts = {k.removeprefix("quality_labels_"): v for k, v in found.metrics.items()}
    # No proteins and no kinds; a repeat, one concept, which is dominant.
    assert counts == {"met": 9, "failed": 0, "warnings": 3, "unchecked": 4}
    assert sum(counts.values()) == len(report.results)
    assert found.tags["quality_labels"] == report.verdict
    assert report.verdict.startswith("9 of 16 expectations are met, 3 gave a warning")
    listed = [f.path for f in client(store_uri).list_artifacts(run.run_id, "quality/labels")]
    assert "quality/labels/summary.html" in listed


def test_a_gate_that_stops_the_run_leaves_its_counts_too(store_uri: str, tmp_path: Path) -> None:
    ids: list[str] = []

    def stopped() -> None:
        with start_run() as run:
            ids.append(run.run_id)
            gate("labels", labels(start=0), tmp_path / "q", {}, run)

    with pytest.raises(QualityError):
        stopped()
    found = client(store_uri).get_run(ids[0])
    assert found.info.status == "FAILED"
    assert found.data.metrics["quality_labels_failed"] == 1
    assert found.data.tags["quality_labels"] == "1 of 12 checked expectations failed critically"


def test_warnings_are_a_tag_of_the_version_and_a_line_of_its_card(
    store_uri: str, tmp_path: Path, make_bundle: Callable[..., Any]
) -> None:
    words = warnings_in_words([gate("labels", labels(), tmp_path / "q", {})])
    assert words == "labels: few_repeats, concepts_several, no_dominant_concept"
    assert warnings_in_words([]) == "none"
    bundle = make_bundle(extra={QUALITY_WARNINGS: words})
    ref = register(bundle)
    version = client(store_uri).get_model_version(ref.name, ref.version)
    assert version.tags[QUALITY_WARNINGS] == words
    line = r"gates when it was made: labels: few\_repeats, concepts\_several"
    assert line in model_card(bundle)
    assert line in version.description
