"""What is left to a class where its members are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from plmsae.concepts.association.evidence import Split
from plmsae.concepts.calling.calibration import called
from plmsae.concepts.calling.callers import Callers
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.workflows.evaluating.class_calls import REASON, measure_left_over
from plmsae.workflows.evaluating.outcome import EvaluateOutcome, _calls

N, LENGTH = 60, 50


@pytest.fixture(scope="module")
def report() -> Split:
    """Latent 0 fires on every SH3 and, of the class, also on some residues that are none."""
    latents, rows, names = [], [], [f"P{i:02d}" for i in range(N)]
    for i, name in enumerate(names):
        dense = np.zeros((LENGTH, 2), dtype=np.float32)
        dense[4:14, :] = 1
        rows += [(name, 5, 14, c, "span") for c in ("Domain", "Domain: SH3")]
        if i % 2:
            dense[30:40, 1] = 1  # the class fires here, too, and there is something one time in six
            if i % 12 == 1:
                rows.append((name, 31, 40, "Domain", "span"))
        latents.append(csr_array(dense))
    table = pl.DataFrame(
        rows, schema=["accession", "start", "end", "concept", "kind"], orient="row"
    )
    labels = build_residue_labels(table, names, [LENGTH] * N)
    return Split(latents=latents, labels=labels, clusters=np.arange(N))


def concepts(member_low: float) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "concept": ["Domain", "Domain: SH3"],
            "kind": ["span", "span"],
            "caller": ["latent", "latent"],
            "call_latent": [1, 0],
            "call_threshold": [0.5, 0.5],
            "min_length": [5, 5],
            "max_gap": [0, 0],
            "call_precision": [65 / 90, 1.0],
            "call_precision_low": [0.62, member_low],
            "call_precision_high": [0.81, 1.0],
            "n_calls": [90, 60],
            "true_calls": [65, 60],
            "false_calls": [25, 0],
            "abstains": [None, None],
            "abstains_at": [None, None],
        },
        schema_overrides={"abstains": pl.String, "abstains_at": pl.Float64},
    )


def test_a_class_is_measured_on_the_calls_that_its_members_leave(report: Split) -> None:
    again = measure_left_over(concepts(0.9), Callers(), report, np.ones(2, np.float32), 0.6)
    row = again.row(0, named=True)
    assert (row["n_calls"], row["true_calls"], row["false_calls"]) == (30, 5, 25)
    assert row["call_precision"] == pytest.approx(1 / 6)
    assert (row["abstains"], row["abstains_at"]) == (REASON, 0.6)
    assert again.row(1) == concepts(0.9).row(1)


def test_a_class_whose_members_may_not_be_called_keeps_its_numbers(report: Split) -> None:
    given = concepts(0.1)
    again = measure_left_over(given, Callers(), report, np.ones(2, np.float32), 0.6)
    assert again.equals(given)


def test_a_class_of_which_no_call_is_left_is_implied_and_not_counted(report: Split) -> None:
    same = concepts(0.9).with_columns(call_latent=pl.lit(0))  # the member's latent makes both
    again = measure_left_over(same, Callers(), report, np.ones(2, np.float32), 0.6)
    assert again.drop("implied_at").equals(same)
    assert again["implied_at"].to_list() == [0.9, None]
    assert called(again, 0.6).to_list() == [False, True]
    # Of a higher precision the member would no longer be sure, and the class is called instead.
    surer = again.with_columns(call_precision_low=pl.Series([0.97, 0.9]))
    assert called(surer, 0.95).to_list() == [True, False]


def test_a_class_whose_calls_its_members_make_is_told_as_on_the_card():
    row = {"call_precision": 0.86, "call_precision_low": 0.7, "call_precision_high": 0.9}
    row |= {"call_latent": 843}
    assert _calls({**row, "implied_at": None}).startswith("calls by latent 843: precision 0.86")
    assert _calls({**row, "implied_at": 0.7}) == "its members make its calls"
    top = [
        {"concept": "Transmembrane", "implied_at": 0.7},
        {"concept": "Transmembrane: Helical", "implied_at": None},
    ]
    outcome = EvaluateOutcome(
        bundle=Path("b"), model=None, how="", summary={}, baselines=[], top_concepts=top,
        callable_concepts=[], promoted=False,
    )  # fmt: skip
    assert dict(outcome.table())["best concepts"] == "Transmembrane: Helical"
