"""How each concept is called: the ways that are tried, and those that never are."""

import numpy as np
import pytest
from conftest_concepts import label_table
from scipy.sparse import csr_array

from plmsae.concepts.association.evidence import Split
from plmsae.concepts.calling.calibration import meets
from plmsae.concepts.calling.calls import call_all
from plmsae.concepts.calling.matching import match_calls
from plmsae.concepts.calling.rule_search import search_rules
from plmsae.concepts.labels.residue_labels import build_residue_labels

N, LENGTH = 120, 120
ALWAYS, MEMBRANE, SIGNAL = 0, 1, 2


@pytest.fixture(scope="module")
def split():
    """A latent that is always on, one over pairs of helices and their loop, one near the start."""
    rng = np.random.default_rng(0)
    latents, rows, names = [], [], [f"P{i:03d}" for i in range(N)]
    for name in names:
        dense = np.zeros((LENGTH, 3), dtype=np.float32)
        dense[:, ALWAYS] = rng.uniform(0.2, 1, LENGTH)
        starts = rng.choice(np.arange(30, 100, 25), 2, replace=False).tolist()
        rows += [(name, start, start + 11, "helix", "span") for start in starts]
        at = int(rng.integers(40, 60))
        dense[at : at + 45, MEMBRANE] = rng.uniform(0.6, 1, 45)
        rows += [(name, at + a, at + a + 20, "membrane", "span") for a in (1, 25)]
        if rng.random() < 0.5:
            end = int(rng.integers(20, 26))
            dense[6 : end - 2, SIGNAL] = rng.uniform(0.5, 1, end - 8)
            rows.append((name, 1, end, "signal", "span"))
        latents.append(csr_array(dense))
    labels = build_residue_labels(label_table(rows), names, [LENGTH] * N)
    return Split(latents=latents, labels=labels, clusters=np.arange(N))


@pytest.fixture(scope="module")
def found(split):
    rules = search_rules([[ALWAYS], [MEMBRANE], [SIGNAL]], split, np.ones(3),
                         good=lambda measured: meets(measured, 0.5).to_numpy())  # fmt: skip
    calls = call_all(split.latents, rules.frame, np.ones(3), rules.segments)
    return rules, calls


def test_a_latent_that_is_always_on_calls_nothing(found):
    rules, calls = found
    row = rules.frame.row(0, named=True)
    assert row["concept"] == "helix"
    assert not row["good"]
    whole = (calls["end"] - calls["start"] + 1) > 0.9 * LENGTH
    assert not whole.any()


def test_one_stretch_over_two_helices_becomes_two_calls(found, split):
    rules, calls = found
    row = rules.frame.row(1, named=True)
    assert (row["concept"], row["decoder"], row["good"]) == ("membrane", "segments", True)
    mine = calls.filter(concept="membrane")
    assert mine.height > 1.8 * N
    matches = match_calls(mine, split.labels)
    assert matches.right_K.mean() > 0.9


def test_calls_of_a_concept_that_starts_at_the_terminus_start_there(found):
    rules, calls = found
    row = rules.frame.row(2, named=True)
    assert (row["concept"], row["decoder"]) == ("signal", "segments")
    assert rules.segments["signal"].anchored
    mine = calls.filter(concept="signal")
    assert mine.height > 40
    assert set(mine["start"]) == {1}
    assert mine["end"].is_between(19, 26).all()


def test_no_call_is_shorter_than_its_rule_allows(found):
    rules, calls = found
    for row in rules.frame.iter_rows(named=True):
        mine = calls.filter(concept=row["concept"])
        if not mine.height:
            continue
        shortest = (mine["end"] - mine["start"] + 1).min()
        by_segments = row["decoder"] == "segments"
        least = rules.segments[row["concept"]].lengths[0] if by_segments else row["min_length"]
        assert shortest >= least > 1


def test_a_search_gives_the_same_twice(found, split):
    again = search_rules([[ALWAYS], [MEMBRANE], [SIGNAL]], split, np.ones(3),
                         good=lambda measured: meets(measured, 0.5).to_numpy())  # fmt: skip
    assert again.frame.equals(found[0].frame)
    assert again.segments == found[0].segments


@pytest.mark.parametrize("n_labelled", [5, 12])
def test_a_rare_concept_at_the_terminus_is_called_all_the_same(split, n_labelled):
    mine = np.flatnonzero(split.labels.concept_I == split.labels.concepts.index("signal"))
    few = split.labels.protein_I[mine[:n_labelled]]
    names = [split.labels.accessions[p] for p in few]
    sites = [(n, 1, int(split.labels.end_I[i] - split.labels.start_I[i]), "signal", "span")
             for n, i in zip(names, mine, strict=False)]  # fmt: skip
    labels = build_residue_labels(label_table(sites), split.labels.accessions, [LENGTH] * N)
    rare = Split(latents=split.latents, labels=labels, clusters=split.clusters)
    rules = search_rules([[SIGNAL]], rare, np.ones(3), good=lambda m: meets(m, 0.5).to_numpy())
    assert rules.frame["call_latent"].to_list() == [SIGNAL]
