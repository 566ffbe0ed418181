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
from plmsae.reports.choosing import MIN_PROTEINS, top_latents
from plmsae.reports.collecting import _companions, build_evidence, runs
from plmsae.reports.describe import describe_all
from plmsae.reports.evidence import ProteinMetadata
from plmsae.reports.report import FeatureReport
from plmsae.reports.testing.samples import levels_of


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
        "f1_select": [0.85, 0.6, None, 1.0, 0.5],
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
        "f1_select": [0.8, 0.3],
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
    assert top_latents(features(), CONCEPTS, 3) == [0, 4, 1]
    assert top_latents(features(), CONCEPTS, 2) == [0, 4]


def test_a_feature_is_not_chosen_by_what_is_shown_as_not_chosen_on() -> None:
    # Feature 0 is good on report by chance: where it was chosen it was poor.
    table = many_features(f1_select=[0.1, *(0.8 - 0.04 * i for i in range(15))])
    chosen = top_latents(table, NO_MORE, 8)
    assert chosen[:6] == [1, 2, 3, 4, 5, 6]
    assert 0 not in chosen[:6]


def many_features(**columns: list[object]) -> pl.DataFrame:
    """Return eight features with a concept and eight without, all usable and the same."""
    return pl.DataFrame(
        {
            "latent": range(16),
            "density": [0.01] * 16,
            "max_activation": [1.0] * 16,
            "dead": [False] * 16,
            "concept": [f"Domain: {i}" for i in range(8)] + ["Domain: 0"] * 4 + [None] * 4,
            "f1": [0.9 - 0.04 * i for i in range(8)] + [0.5, 0.4, 0.2, None] + [None] * 4,
            "f1_select": [0.9 - 0.04 * i for i in range(8)] + [0.5, 0.4, 0.2, None] + [None] * 4,
            "n_proteins_active": [MIN_PROTEINS] * 16,
            **columns,
        }
    )


NO_MORE = CONCEPTS.clear()


def test_a_quarter_of_a_report_is_of_strong_features_without_a_concept() -> None:
    highest = [50.0] * 8 + [2.0, 9.0, 1.0, 5.0, 1.0, 3.0, 7.0, 4.0]
    chosen = top_latents(many_features(max_activation=highest), NO_MORE, 8)
    # F1 0.5 is not above 0.5; those with a concept stay in order, the strongest of the rest follow.
    assert chosen == [0, 1, 2, 3, 4, 5, 9, 14]
    assert top_latents(many_features(max_activation=highest), NO_MORE, 12)[-3:] == [9, 14, 11]
    everything = top_latents(many_features(max_activation=highest), NO_MORE, 99)
    assert sorted(everything) == list(range(16))


def test_noise_takes_no_place_of_features_without_a_concept() -> None:
    highest, density, proteins = [1.0] * 16, [0.01] * 16, [100] * 16
    highest[8:] = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0]
    density[8], density[9], proteins[10] = 0.00005, 0.3, MIN_PROTEINS - 1
    table = many_features(
        max_activation=highest,
        density=density,
        n_proteins_active=proteins,
        dead=[False] * 11 + [True] + [False] * 4,
    )
    # Feature 12 detects a concept best whose own best concept is another one.
    also = CONCEPTS.head(1).with_columns(best_latent=pl.lit(12, pl.Int64))
    assert top_latents(table, also, 8)[-2:] == [13, 14]


def test_places_for_features_without_a_concept_that_stay_free_go_to_others() -> None:
    chosen = top_latents(many_features(density=[0.5] * 16), NO_MORE, 8)
    assert chosen == list(range(8))


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
    assert levels_of(np.array([scaled], dtype=np.float32)).tolist() == [level]


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


def reported(labels: pl.DataFrame | None, concepts: pl.DataFrame = CONCEPTS) -> FeatureReport:
    """Feature 0, which detects the concept Motif above 0.15; it peaks at D21 of P1."""
    sequences = ["A" * 20 + "D" + "A" * 20, "MKW"]
    arrays = latents({(20, 0): 4.0, (25, 0): 2.0}, {(1, 0): 0.5}, lengths=[41, 3])
    found = build_evidence(
        features(), concepts, arrays, ["P1", "P2"], sequences, labels, latents_to_report=1
    )
    (report,) = describe_all(found, client=None)
    return report


def labelled(*rows: tuple[str, int, int, str]) -> pl.DataFrame:
    return pl.DataFrame(
        rows,
        schema={"accession": pl.String, "start": pl.Int64, "end": pl.Int64, "concept": pl.String},
        orient="row",
    )


def test_only_labelled_residues_above_the_threshold_are_cited_for_a_concept() -> None:
    # The peak is outside the label; P2 is labelled and stays under the threshold.
    report = reported(
        labelled(("P1", 24, 30, "Motif"), ("P1", 21, 21, "Chain"), ("P2", 1, 3, "Motif"))
    )
    (cited,) = report.citations
    assert (cited.accession, cited.residue, cited.position) == ("P1", "A", 26)
    assert cited.shows == "0.50 of the maximum, in Motif"
    assert "is cited, because" not in report.description


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (labelled(("P1", 21, 21, "Chain")), "none of the 2 proteins looked at is labelled with it"),
        (
            labelled(("P2", 1, 3, "Motif")),
            "on no label shown it is above the threshold of 0.15 "
            "(1 protein of 2 is labelled with it)",
        ),
        (None, "the labels of the proteins looked at are not known"),
    ],
)
def test_a_concept_without_an_example_is_not_given_another_one(
    labels: pl.DataFrame | None, why: str
) -> None:
    report = reported(labels)
    assert report.claim.startswith("It detects Motif (F1 0.85")
    assert report.citations == ()
    assert f"No example of Motif is cited, because {why}." in report.description


def test_without_a_concept_the_peaks_are_cited() -> None:
    arrays = latents({(3, 2): 1.0}, {(1, 2): 0.5}, lengths=[5, 3])
    only = features().filter(pl.col("latent") == 2)
    found = build_evidence(
        only, CONCEPTS, arrays, ["P1", "P2"], ["MKTAY", "MKW"], None, latents_to_report=1
    )
    (report,) = describe_all(found, client=None)
    cited = [(c.accession, c.residue, c.position, c.shows) for c in report.citations]
    assert cited == [("P1", "A", 4, "1.00 of the maximum"), ("P2", "K", 2, "0.50 of the maximum")]


def test_the_instances_behind_an_f1_are_told_with_its_interval() -> None:
    measured = CONCEPTS.with_columns(
        n_instances=pl.Series([1063, 4]),
        f1_low=pl.Series([0.7, 0.1]),
        f1_high=pl.Series([0.9, 0.4]),
    )
    claim = reported(None, measured).claim
    assert "(F1 0.85 [0.70, 0.90], precision 0.90, recall 0.80 on 1,063 labelled instances" in claim
    # The interval is of the best latent at its threshold; of another pair none is known.
    other = measured.with_columns(best_latent=pl.lit(1))
    assert "(F1 0.85, precision 0.90, recall 0.80 on 1,063 labelled instances" in (
        reported(None, other).claim
    )


def test_what_fires_together_is_named_only_by_a_concept_that_it_finds():
    features = pl.DataFrame(
        {
            "latent": [0, 1, 2],
            "max_activation": [1.0, 1.0, 1.0],
            "concept": ["Helix", "Helix", "Repeat"],
            "f1": [0.9, 0.8, 0.0],
            "f1_select": [0.9, 0.8, 0.7],  # the last was good there by chance
        }
    )
    latents = [csr_array(np.ones((5, 3), dtype=np.float32))]
    (companions,) = _companions(latents, [0], features)
    assert {c.latent: c.concept for c in companions} == {1: "Helix", 2: None}
