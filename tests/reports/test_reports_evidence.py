"""Evidence: what is shown is what was measured."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from plmsae.core.errors import InputError
from plmsae.reports.collecting import build_evidence, runs, top_latents
from plmsae.reports.evidence import ProteinMetadata
from plmsae.reports.testing.samples import level_of


def features(**columns: list[object]) -> pl.DataFrame:
    base: dict[str, list[object]] = {
        "latent": [0, 1, 2, 3, 4],
        "density": [0.1, 0.2, 0.3, 0.0, 0.05],
        "max_activation": [4.0, 2.0, 1.0, 0.0, 5.0],
        "dead": [False, False, False, True, False],
        "concept": ["Motif", "Motif", None, "Motif", "Region"],
        "threshold": [0.15, 0.5, None, 0.5, 0.0],
        "precision": [0.9, 0.6, None, 1.0, 0.5],
        "recall": [0.8, 0.6, None, 1.0, 0.5],
        "f1": [0.85, 0.6, None, 1.0, 0.5],
    }
    return pl.DataFrame({**base, **columns})


CONCEPTS = pl.DataFrame(
    {
        "concept": ["Motif", "Helix"],
        "best_latent": [0, 0],
        "best_threshold": [0.15, 0.8],
        "precision_residue": [0.9, 0.3],
        "recall": [0.8, 0.2],
        "f1": [0.85, 0.25],
    }
)


def latents(*proteins: dict[tuple[int, int], float], lengths: list[int]) -> list[csr_array]:
    arrays = []
    for cells, length in zip(proteins, lengths, strict=True):
        dense = np.zeros((length, 5), dtype=np.float32)
        for (row, column), value in cells.items():
            dense[row, column] = value
        arrays.append(csr_array(dense))
    return arrays


def test_the_best_feature_of_each_concept_comes_first_and_dead_ones_never() -> None:
    assert top_latents(features(), 10) == [0, 4, 1, 2]
    assert top_latents(features(), 2) == [0, 4]


def test_the_strongest_protein_is_shown_with_its_peak_window_and_labels() -> None:
    sequences = ["A" * 20 + "C" + "D" * 20, "MKW"]
    arrays = latents({(20, 0): 4.0, (21, 0): 2.0, (0, 0): 0.4}, {(1, 0): 1.0}, lengths=[41, 3])
    labels = pl.DataFrame(
        {
            "accession": ["P1", "P1", "P2"],
            "start": [21, 30, 1],
            "end": [22, 41, 3],
            "concept": ["Motif", "Far away", "Chain"],
        }
    )
    (found,) = build_evidence(
        features(), CONCEPTS, arrays, ["P1", "P2"], sequences, labels,
        latents_to_report=1, metadata={"P1": ProteinMetadata(name="a name")},
    )  # fmt: skip
    assert found.latent == 0
    assert [score.concept for score in found.concepts] == ["Motif", "Helix"]
    assert found.concepts[1].precision == 0.3
    first, second = found.examples
    assert (first.accession, first.activation, first.peak) == ("P1", 1.0, 21)
    assert first.description == "a name"
    assert first.window == sequences[0][5:36]
    assert first.window_start == 6
    assert first.window[first.peak - first.window_start] == "C"
    assert first.activations[15:17] == (1.0, 0.5)
    assert first.active == ((21, 22),)  # 0.1 of the maximum is below the level of activity
    assert first.labels == ("Motif 21..22",)
    assert (second.accession, second.peak, second.window, second.window_start) == (
        "P2",
        2,
        "MKW",
        1,
    )
    assert found.n_active == 2
    assert found.n_peaks == 1
    assert found.residues[0].residue == "C"
    assert found.residues[0].fold == pytest.approx(44, abs=0.01)
    assert found.logo[7] == {"C": 1.0}
    assert found.logo[0] == {"A": 1.0}
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("scaled", "level"), [(1.0, 9), (0.95, 9), (0.9, 9), (0.0999, 0), (0.1, 1), (0.3, 3), (0.7, 7)]
)
def test_the_top_level_holds_the_maximum_itself(scaled: float, level: int) -> None:
    # Elsewhere the top bin excludes 1.0, so that the strongest proteins are never shown.
    assert level_of(scaled) == level


def test_the_protein_at_the_maximum_is_counted_in_the_top_level() -> None:
    arrays = latents({(0, 0): 4.0}, {(0, 0): 2.2}, {}, lengths=[2, 2, 2])
    (found,) = build_evidence(
        features(), CONCEPTS, arrays, ["P1", "P2", "P3"], ["MA"] * 3, None, latents_to_report=1
    )
    assert [level.n_proteins for level in found.levels] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert found.levels[9].accessions == ("P1",)


def test_a_feature_silent_on_these_proteins_says_so() -> None:
    arrays = latents({}, lengths=[3])
    found = build_evidence(features(), CONCEPTS, arrays, ["P1"], ["MAC"], None, latents_to_report=9)
    assert {evidence.pattern for evidence in found} == {"none"}
    assert all(not evidence.examples and not evidence.residues for evidence in found)


def test_activations_above_the_reference_maximum_count_as_the_maximum() -> None:
    (found,) = build_evidence(
        features(), CONCEPTS, latents({(1, 0): 9.0}, lengths=[3]), ["P1"], ["MAC"], None,
        latents_to_report=1,
    )  # fmt: skip
    assert found.examples[0].activation == 1.0


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    one = latents({}, lengths=[3])
    with pytest.raises(InputError, match="P1: 3 rows of latents for 4 residues"):
        build_evidence(features(), CONCEPTS, one, ["P1"], ["MACD"], None, latents_to_report=1)
    with pytest.raises(InputError, match="do not belong together"):
        build_evidence(features(), CONCEPTS, one, ["P1", "P2"], ["MAC"], None, latents_to_report=1)
    with pytest.raises(InputError, match="at least one feature"):
        build_evidence(features(), CONCEPTS, one, ["P1"], ["MAC"], None, latents_to_report=0)
    with pytest.raises(InputError, match="no proteins"):
        build_evidence(features(), CONCEPTS, [], [], [], None, latents_to_report=1)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.booleans(), max_size=40))
def test_runs_equal_walking_along(active: list[bool]) -> None:
    slow, start = [], None
    for i, value in enumerate([*active, False]):
        if value and start is None:
            start = i
        elif not value and start is not None:
            slow.append((start, i))
            start = None
    assert [tuple(run) for run in runs(np.array(active, dtype=bool)).tolist()] == slow
