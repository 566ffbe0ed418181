"""The one rule for "this call is right"."""

import numpy as np
import polars as pl
import pytest
from conftest_concepts import label_table, make_world
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.concepts.calling.calls import CALL_SCHEMA
from plmsae.concepts.calling.matching import match_calls
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.core.errors import InputError


def calls_frame(rows):
    full = [(p, s, e, c, 1.0, 0) for p, s, e, c in rows]
    return pl.DataFrame(full, schema=CALL_SCHEMA, orient="row")


def matched(calls, labels, length=100, kind="span"):
    table = label_table([("A", start, end, "x", kind) for start, end in labels])
    laid = build_residue_labels(table, ["A"], [length])
    return match_calls(calls_frame([(0, start, end, "x") for start, end in calls]), laid)


@pytest.mark.parametrize(
    ("call", "label", "right"),
    [
        ((11, 30), (11, 30), True),
        ((11, 30), (21, 40), True),  # half of the call, half of the instance
        ((11, 30), (22, 41), False),  # 9 of 20 residues of the call
        ((11, 15), (11, 30), True),  # a quarter of the instance
        ((11, 14), (11, 30), False),  # less than a quarter
        ((1, 100), (41, 60), False),  # the whole protein
        ((12, 12), (1, 30), False),  # one residue of a signal peptide
    ],
)
def test_a_span_is_right_if_it_and_one_instance_cover_each_other(call, label, right):
    matches = matched([call], [label])
    assert matches.right_K.tolist() == [right]
    assert matches.found_I.tolist() == [right]
    assert matches.touches_K.tolist() == [True]


def test_a_call_over_two_helices_is_wrong_and_finds_neither():
    matches = matched([(10, 55)], [(10, 30), (35, 55)])
    assert not matches.right_K.any()
    assert not matches.found_I.any()
    assert matches.touches_K.all()
    assert matches.residues_K.tolist() == [42]


def test_of_two_calls_on_one_instance_the_better_one_is_right():
    matches = matched([(10, 16), (20, 30)], [(10, 30)])
    assert matches.right_K.tolist() == [False, True]
    assert matches.found_I.tolist() == [True]
    assert matches.call_iou_K.tolist() == pytest.approx([7 / 21, 11 / 21])


def test_a_call_that_lost_its_instance_takes_another_that_fits():
    # The first call fits both instances, the second call only the first one, and better.
    matches = matched([(11, 20), (21, 30)], [(15, 30), (8, 20)])
    assert matches.right_K.tolist() == [True, True]
    assert matches.found_I.tolist() == [True, True]


def test_sites_count_by_residue():
    matches = matched([(5, 5), (6, 6), (50, 50)], [(5, 8), (60, 60)], kind="site")
    assert matches.right_K.tolist() == [True, True, False]
    assert matches.found_I.tolist() == [True, False]
    assert not matched([(5, 5)], [(5, 9)], kind="site").found_I.any()  # a fifth of the site


def test_the_error_of_the_end_is_that_of_a_right_call():
    errors = matched([(1, 20), (60, 70)], [(1, 23)]).end_error_K
    assert errors[0] == 3
    assert np.isnan(errors[1])


def test_a_call_of_an_unlabelled_concept_is_refused():
    labels = build_residue_labels(label_table([("A", 3, 6, "x", "span")]), ["A"], [10])
    with pytest.raises(InputError, match="'y'"):
        match_calls(calls_frame([(0, 1, 3, "y")]), labels)


def test_no_calls_find_nothing():
    matches = matched([], [(3, 6)])
    assert len(matches.right_K) == 0
    assert matches.found_I.tolist() == [False]
    assert matches.instance_iou_I.tolist() == [0.0]


def slow_matches(rows, labels):
    """Return right and found, one pair at a time, the highest IoU first."""
    right, found = [False] * len(rows), [False] * labels.n_instances
    called, instances = [], []
    for p, a, b, concept in rows:
        called.append((concept, p, set(range(a, b + 1))))
    for i in range(labels.n_instances):
        p = labels.protein_I[i]
        base = labels.offsets_P1[p]
        residues = set(range(labels.start_I[i] - base + 1, labels.end_I[i] - base + 1))
        instances.append((labels.concepts[labels.concept_I[i]], p, residues))
    pairs = []
    for k, (concept, p, mine) in enumerate(called):
        for i, (other, q, theirs) in enumerate(instances):
            shared = len(mine & theirs)
            if (concept, p) != (other, q) or not shared:
                continue
            if not labels.is_span_C[labels.concepts.index(concept)]:
                right[k] = True
            elif shared >= len(mine) / 2 and shared >= len(theirs) / 4:
                pairs.append((-shared / len(mine | theirs), k, i))
    taken = set()
    for _, k, i in sorted(pairs):
        if not right[k] and i not in taken:
            right[k] = found[i] = True
            taken.add(i)
    for i, (concept, q, theirs) in enumerate(instances):
        if not labels.is_span_C[labels.concepts.index(concept)]:
            covered = set().union(*(m & theirs for c, p, m in called if (c, p) == (concept, q)))
            found[i] = len(covered) > 0 and len(covered) >= len(theirs) / 4
    return right, found


@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_matches_equal_a_plain_loop(seed):
    world = make_world(seed, longest=30)
    labels = build_residue_labels(world.table, world.accessions, world.lengths)
    rng = np.random.default_rng(seed)
    rows = []
    for concept, is_span in zip(labels.concepts, labels.is_span_C, strict=True):
        for p, length in enumerate(world.lengths):
            cuts = np.sort(rng.choice(length + 1, min(6, (length + 1) // 2 * 2), replace=False))
            spans = [(a + 1, b) for a, b in cuts[: len(cuts) // 2 * 2].reshape(-1, 2)]
            rows += [(p, a, b if is_span else a, concept) for a, b in spans]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    matches = match_calls(calls_frame(rows), labels)
    right, found = slow_matches(rows, labels)
    assert matches.right_K.tolist() == right
    assert matches.found_I.tolist() == found
    mask = labels.mask_CN().toarray()
    for k, (p, a, b, concept) in enumerate(rows):
        base = labels.offsets_P1[p]
        inside = mask[labels.concepts.index(concept), base + a - 1 : base + b]
        assert matches.residues_K[k] == inside.sum()
        assert matches.touches_K[k] == inside.any()
        assert (matches.call_iou_K[k] > 0) == inside.any()
