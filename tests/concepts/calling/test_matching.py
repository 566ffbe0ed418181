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


def test_one_shared_residue_makes_a_call_right():
    labels = build_residue_labels(label_table([("A", 3, 6, "x", "span")]), ["A", "B"], [10, 10])
    calls = calls_frame([(0, 1, 3, "x"), (0, 7, 9, "x"), (1, 3, 6, "x")])
    matches = match_calls(calls, labels)
    assert matches.right_K.tolist() == [True, False, False]
    assert matches.call_iou_K[0] == pytest.approx(1 / 6)
    assert matches.instance_iou_I.tolist() == pytest.approx([1 / 6])


def test_a_call_of_an_unlabelled_concept_is_refused():
    labels = build_residue_labels(label_table([("A", 3, 6, "x", "span")]), ["A"], [10])
    with pytest.raises(InputError, match="'y'"):
        match_calls(calls_frame([(0, 1, 3, "y")]), labels)


def test_no_calls_find_nothing():
    labels = build_residue_labels(label_table([("A", 3, 6, "x", "span")]), ["A"], [10])
    matches = match_calls(calls_frame([]), labels)
    assert len(matches.right_K) == 0
    assert matches.instance_iou_I.tolist() == [0.0]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_matches_equal_a_plain_loop(seed):
    world = make_world(seed)
    labels = build_residue_labels(world.table, world.accessions, world.lengths)
    rng = np.random.default_rng(seed)
    rows = []
    for concept in labels.concepts:
        for p, length in enumerate(world.lengths):
            cuts = np.sort(rng.choice(length + 1, min(4, (length + 1) // 2 * 2), replace=False))
            rows += [(p, a + 1, b, concept) for a, b in cuts[: len(cuts) // 2 * 2].reshape(-1, 2)]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    matches = match_calls(calls_frame(rows), labels)
    call_iou, instance_iou = np.zeros(len(rows)), np.zeros(labels.n_instances)
    for k, (p, a, b, concept) in enumerate(rows):
        for i in range(labels.n_instances):
            if labels.concepts[labels.concept_I[i]] != concept or labels.protein_I[i] != p:
                continue
            base = labels.offsets_P1[p]
            mine = set(range(labels.start_I[i] - base + 1, labels.end_I[i] - base + 1))
            called = set(range(a, b + 1))
            iou = len(mine & called) / len(mine | called)
            call_iou[k] = max(call_iou[k], iou)
            instance_iou[i] = max(instance_iou[i], iou)
    assert np.allclose(matches.call_iou_K, call_iou)
    assert np.allclose(matches.instance_iou_I, instance_iou)
