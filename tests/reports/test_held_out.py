"""Proteins held back: which they are, and how well rules and numbers fare on them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from held_out_world import world
from scipy import stats

from plmsae.reports.describe import describe_all
from plmsae.reports.page import in_words
from plmsae.reports.report import report_metrics
from plmsae.reports.testing.rules import SampledProtein, best_rule
from plmsae.reports.testing.samples import Homology, choose_sides
from plmsae.reports.testing.scores import Prediction, pearson_r, score_predictions


def test_no_homology_cluster_is_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    maxima = np.where(rng.random(300) < 0.5, 0, rng.random(300)).astype(np.float32)
    clusters = rng.integers(0, 60, 300).tolist()
    sides = choose_sides(maxima, Homology(clusters=clusters, relatives={}), seed=1)
    assert sides.families == "other"
    assert sides.held_out is not None
    shown, held = (
        {clusters[p] for p in (*side.active, *side.silent, *side.relatives)}
        for side in (sides.shown, sides.held_out)
    )
    assert shown.isdisjoint(held)
    assert int(maxima.argmax()) == sides.shown.active[0]
    for side in (sides.shown, sides.held_out):
        levels = [min(int(maxima[p] * 10), 9) for p in side.active]
        assert levels == sorted(levels, reverse=True)
        assert max(levels.count(level) for level in range(9)) <= 2
        assert all(maxima[p] == 0 for p in side.silent)


def test_a_feature_of_one_family_is_tested_within_it_and_says_so() -> None:
    maxima = np.array([0.99 - 0.01 * (i % 9) for i in range(12)] + [0.0] * 10, dtype=np.float32)
    homology = Homology(clusters=[0] * 12 + list(range(1, 11)), relatives={})
    sides = choose_sides(maxima, homology, seed=0)
    assert sides.families == "same"
    assert sides.held_out is not None
    assert set(sides.shown.active).isdisjoint(sides.held_out.active)


def test_with_too_few_active_proteins_none_is_held_back() -> None:
    sides = choose_sides(np.array([1, 0.5, 0, 0], dtype=np.float32), Homology.unrelated(4), seed=0)
    assert sides.held_out is None
    assert sides.shown.active == (0, 1)


def test_hard_negatives_are_silent_relatives_of_the_same_side() -> None:
    (evidence,) = world()
    shown = {e.accession[:3] for e in evidence.examples}
    hard = [p for p in evidence.silent if p.is_relative]
    assert hard
    assert all(p.accession.endswith("1") and p.accession[:3] in shown for p in hard)
    held = {p.accession[:3] for p in evidence.held_out if p.role == "active"}
    assert held.isdisjoint(shown)
    assert {p.accession[:3] for p in evidence.held_out if p.role == "relative"} <= held


@pytest.mark.parametrize("labelled", [True, False])
def test_without_a_key_the_best_concept_or_motif_is_tested(labelled: bool) -> None:
    (report,) = describe_all(world(labelled=labelled), client=None)
    assert report.test is not None
    assert report.test.predictor == "rule"
    assert report.test.r > 0.8
    assert report.verified
    score = f"r {report.test.r:.2f}, detection {report.test.detection:.2f}"
    assert report.status == f"verified ({score})"
    if not labelled:
        assert "G-D-S-G" in report.test.basis
        assert report.test.relatives == 1.0
    assert report_metrics([report])["report_median_r"] == report.test.r


def protein(i: int, sequence: str, activation: float, *concepts: str) -> SampledProtein:
    return SampledProtein(
        accession=f"P{i}", name="", organism="", terms=(), labels=(), concepts=concepts,
        sequence=sequence, activation=activation, peak=10 if activation else 0,
        role="active" if activation else "silent",
    )  # fmt: skip


def test_a_rule_that_learned_noise_predicts_nothing() -> None:
    rng = np.random.default_rng(3)
    proteins = [
        protein(i, "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 60)), 0.9 * (i % 2))
        for i in range(80)
    ]
    test = best_rule([], proteins[:40], proteins[40:], dict.fromkeys("ACDEFG", 9), families="other")
    assert abs(test.r) < 0.35
    assert test.r_low < 0.1
    assert not test.holds


def side(labelled: int, of: dict[float, int]) -> list[SampledProtein]:
    """Proteins without a motif; the strongest `labelled` of them have the concept."""
    activations = sorted((a for a, n in of.items() for _ in range(n)), reverse=True)
    return [
        protein(i, "ACDEF", a, *(["Helix"] if i < labelled else []))
        for i, a in enumerate(activations)
    ]


def test_from_where_a_rule_predicts_firing_is_fitted_on_the_proteins_shown() -> None:
    # The line is 0.25 where the concept is not: above the 0.15 from which a protein is active.
    proteins = side(10, {0.9: 10, 0.5: 10, 0.0: 10})
    test = best_rule(["Helix"], proteins, proteins, {}, families="other")
    assert min(p.predicted for p in test.predictions) == 0.25
    assert 0.25 < test.cut < 0.9
    assert test.detection == 0.75  # half of the active proteins, all of the silent ones
    assert (test.n_active, test.n_silent, test.n_relatives) == (20, 10, 0)
    # On these alone, none of which has the concept, the same cut finds no active one.
    held_out = side(0, {0.5: 10, 0.0: 10})
    other = best_rule(["Helix"], proteins, held_out, {}, families="other")
    assert (other.cut, other.detection) == (test.cut, 0.5)


def test_r_alone_does_not_verify_where_detection_is_at_chance() -> None:
    proteins = side(2, {1.0: 2, 0.2: 8, 0.0: 10})
    (evidence,) = world()
    rule = best_rule(["Helix"], proteins, proteins, {}, families="other")
    (report,) = describe_all([dataclasses.replace(evidence, rule_test=rule)], client=None)
    assert rule.r > 0.9
    assert rule.detection == 0.6
    assert rule.detection_low is not None
    assert rule.detection_low < 0.5
    assert not report.verified
    assert report.status.endswith("detection is not above chance")
    # With more proteins the same share is above chance.
    many = side(20, {1.0: 20, 0.2: 80, 0.0: 100})
    assert best_rule(["Helix"], many, many, {}, families="other").holds


def test_without_silent_proteins_detection_is_not_tested_and_pages_say_so() -> None:
    proteins = side(10, {0.9: 10, 0.3: 10})
    test = best_rule(["Helix"], proteins, proteins, {}, families="other")
    assert (test.detection, test.detection_low, test.relatives) == (None, None, None)
    assert test.holds
    cells = in_words(test)
    assert cells["detection (active or silent)"] == "not tested: 20 active, 0 silent"
    assert cells["above silent relatives"] == "not tested: 0 relatives"


@pytest.mark.parametrize(
    ("active", "silent", "interval"),
    [((56, 70), (32, 80), (0.0524, 0.3339)), ((9, 10), (7, 10), (0.1705, 0.8090))],
)
def test_the_interval_of_detection_is_newcombes(
    active: tuple[int, int], silent: tuple[int, int], interval: tuple[float, float]
) -> None:
    # Newcombe 1998, table II, method 10: differences of 56/70 and 48/80, of 9/10 and 3/10. Twice
    # the balanced accuracy is 1 plus the difference of the shares that are predicted to fire.
    found = [
        Prediction(
            accession="P", role=role, observed=float(role == "active"),
            predicted=0.9 * float((i < right) == (role == "active")),
        )
        for role, (right, n) in (("active", active), ("silent", silent))
        for i in range(n)
    ]  # fmt: skip
    test = score_predictions(found, predictor="x", basis="x", families="other")
    assert (test.detection_low, test.detection_high) == pytest.approx(
        [(1 + end) / 2 for end in interval], abs=1e-4
    )


def test_r_and_its_interval_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    observed = rng.random(30)
    predicted = np.clip(observed + rng.normal(0, 0.3, 30), 0, 1)
    pairs = zip(observed.tolist(), predicted.tolist(), strict=True)
    test = score_predictions(
        [Prediction(accession="P", role="active", observed=o, predicted=p) for o, p in pairs],
        predictor="x", basis="x", families="other",
    )  # fmt: skip
    reference = stats.pearsonr(observed, predicted)
    low, high = reference.confidence_interval(0.95)
    assert (test.r, test.r_low, test.r_high) == pytest.approx(
        (reference.statistic, low, high), abs=1e-4
    )
    assert test.detection is None
    assert test.relatives is None


def test_the_same_prediction_for_all_is_worth_nothing() -> None:
    assert pearson_r([0.5, 0.5, 0.5], [0.1, 0.2, 1.0]) == 0.0


def test_hard_negatives_are_scored_apart_from_r() -> None:
    good = [
        Prediction(accession="A", role="active", observed=1.0, predicted=0.9),
        Prediction(accession="B", role="active", observed=0.8, predicted=0.7),
        Prediction(accession="C", role="silent", observed=0.0, predicted=0.1),
    ]
    fooled = Prediction(accession="D", role="relative", observed=0.0, predicted=0.8)
    test = score_predictions([*good, fooled], predictor="x", basis="x", families="other")
    assert test.r > 0.95
    assert test.detection == 1.0
    assert test.relatives == 0.5
