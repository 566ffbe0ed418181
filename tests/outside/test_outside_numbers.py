"""Statistics and graphs against scikit-learn, scipy and networkx."""

from __future__ import annotations

import math
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_array
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss

from plmsae.concepts.association.bootstrap import bias_corrected_interval, draw_proteins
from plmsae.concepts.calling.calibrators import fit_calibrator, log_loss, reliability
from plmsae.concepts.enrichment.enrichment import TermTable
from plmsae.proteins.ontology import read_obo


def scored(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.gamma(2.0, size=n)
    return score, rng.random(n) < 1 / (1 + np.exp(-(score - 2)))


@pytest.mark.parametrize("seed", range(3))
def test_a_platt_calibration_is_the_logistic_regression_of_platts_targets(seed: int) -> None:
    score, truth = scored(seed)
    high, low = (truth.sum() + 1) / (truth.sum() + 2), 1 / ((~truth).sum() + 2)
    target = np.where(truth, high, low)
    # A soft target is the same as two weighted rows, one of each class.
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(score, 2)[:, None],
        np.repeat([1, 0], len(score)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    ours = fit_calibrator(score, truth, method="platt")
    assert ours(score) == pytest.approx(model.predict_proba(score[:, None])[:, 1], abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_log_loss_and_reliability_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.01, 0.99, 300)
    truth = rng.random(300) < p
    assert log_loss(p, truth) == pytest.approx(sklearn_log_loss(truth, p))
    curve = reliability(p, truth, n_bins=10)
    frequency, mean = calibration_curve(truth, p, n_bins=10, strategy="uniform")
    assert curve["frequency"].to_numpy() == pytest.approx(frequency)
    assert curve["mean_probability"].to_numpy() == pytest.approx(mean)


def test_drawing_groups_gives_the_distribution_of_scipys_bootstrap() -> None:
    rng = np.random.default_rng(0)
    value_P = rng.normal(size=60)
    weight_PB = draw_proteins(np.arange(60), 4000, 1)
    ours = weight_PB.T @ value_P / 60
    assert weight_PB.sum(axis=0) == pytest.approx(60)
    theirs = stats.bootstrap(
        (value_P,), np.mean, n_resamples=4000, method="percentile", random_state=2
    )
    low, high = np.quantile(ours, [0.025, 0.975])
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.03)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.03)


def test_the_bias_corrected_interval_is_scipys_bca_without_acceleration() -> None:
    half = np.random.default_rng(3).normal(size=40)
    value = np.concatenate([half, -half])  # symmetric: the acceleration of the mean is zero
    theirs = stats.bootstrap((value,), np.mean, n_resamples=5000, method="BCa", random_state=4)
    ours = bias_corrected_interval(float(value.mean()), theirs.bootstrap_distribution)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.01)


def graph_of(path: Path) -> nx.DiGraph:
    """Read an OBO file in the plainest way: is_a and part_of of terms that are not obsolete."""
    graph = nx.DiGraph()
    for stanza in path.read_text("utf-8").split("\n\n"):
        lines = stanza.strip().splitlines()
        if not lines or lines[0] != "[Term]" or "is_obsolete: true" in lines:
            continue
        term = lines[1].removeprefix("id: ")
        graph.add_node(term)
        for line in lines:
            if line.startswith("is_a: "):
                graph.add_edge(term, line.split()[1])
            elif line.startswith("relationship: part_of "):
                graph.add_edge(term, line.split()[2])
    return graph


def test_ancestors_and_depths_of_a_real_slim_are_those_of_networkx(real_data: Path) -> None:
    path = real_data / "goslim_generic.obo"
    ontology, graph = read_obo(path), graph_of(path)
    graph.remove_nodes_from([term for term in list(graph) if term not in ontology])
    assert set(graph) == {term.id for term in ontology if not term.obsolete}
    for term in graph:
        assert ontology.ancestors(term) == nx.descendants(graph, term), term
    depth = {}
    for term in reversed(list(nx.topological_sort(graph))):
        depth[term] = max((depth[above] + 1 for above in graph.successors(term)), default=0)
    assert {term: ontology.depth(term) for term in graph} == depth


def test_information_is_that_of_resnik_over_the_closed_annotations() -> None:
    # A tree of three terms; p of a term counts the proteins of it and of all below it.
    graph = nx.DiGraph([("leaf", "mid"), ("mid", "root"), ("other", "root")])
    direct = {"P1": ["leaf"], "P2": ["mid"], "P3": ["other"], "P4": ["other", "leaf"]}
    closed = [
        (protein, term)
        for protein, terms in direct.items()
        for term in set(terms).union(*(nx.descendants(graph, term) for term in terms))
    ]
    terms = sorted({term for _, term in closed})
    carries_PC = np.array([[(p, t) in set(closed) for t in terms] for p in direct], dtype=np.int32)
    table = TermTable(
        terms=tuple(terms), carries_PC=csr_array(carries_PC), count_C=carries_PC.sum(axis=0)
    )
    found = dict(zip(table.terms, table.information_C, strict=True))
    expected = {"root": 0.0, "mid": -math.log2(3 / 4), "leaf": 1.0, "other": 1.0}
    assert found == pytest.approx(expected)
