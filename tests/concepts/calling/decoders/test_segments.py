"""The segment decoder against a slow dynamic programme over one protein at a time."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from plmsae.concepts.calling.decoders.activations import gather_activations
from plmsae.concepts.calling.decoders.segments import SegmentModel, find_segments
from plmsae.core.errors import InputError


def model(**changed):
    fields = {
        "edges": (0.0, 0.5), "log_odds": (-1.0, 0.5, 2.0), "lengths": (3, 4, 6),
        "log_lengths": (-0.5, 0.0, -1.0), "cost": 1.0, "min_evidence": 0.0,
        "gap": 1, "anchored": False,
    }  # fmt: skip
    return SegmentModel(**(fields | changed))


def activations(*proteins):
    arrays = [csr_array(np.array([values], dtype=np.float32).T) for values in proteins]
    return gather_activations(arrays, [0], [1.0])


def spans(found):
    return list(zip(found.first_K.tolist(), found.end_K.tolist(), strict=True))


def odds_of(values, m):
    return [m.log_odds[sum(v > edge for edge in m.edges)] for v in values]


def scored(segments, odds, m):
    price = dict(zip(m.lengths, m.log_lengths, strict=True))
    return sum(sum(odds[a:b]) + price[b - a] - m.cost for a, b in segments)


def slow_best(values, m):
    """Return the score of the best segmentation of one protein, by recursion over its end."""
    odds = odds_of(values, m)
    price = dict(zip(m.lengths, m.log_lengths, strict=True))
    if m.anchored:
        every = [scored([(0, d)], odds, m) for d in m.lengths if d <= len(values)]
        return max([0.0, *every])
    best = [0.0] * (len(values) + 1)  # of the first t residues
    for t in range(1, len(values) + 1):
        best[t] = best[t - 1]
        for d in m.lengths:
            if d <= t:
                before = t - d
                # A segment right at the start needs no gap before it.
                free = best[before - m.gap] if before >= m.gap else 0.0
                best[t] = max(best[t], free + sum(odds[t - d : t]) + price[d] - m.cost)
    return best[-1]


def random_model(rng):
    edges = np.unique(rng.choice([0.0, 0.2, 0.4, 0.7], rng.integers(1, 4), replace=False))
    odds = np.sort(rng.normal(0, 1.5, len(edges) + 1))
    odds[0] = -abs(odds[0]) - 0.05
    lengths = np.unique(rng.integers(1, 9, rng.integers(1, 5)))
    log_lengths = -rng.random(len(lengths)) * 2
    return SegmentModel(
        edges=tuple(edges.tolist()), log_odds=tuple(np.sort(odds).tolist()),
        lengths=tuple(int(n) for n in lengths), log_lengths=tuple(log_lengths.tolist()),
        cost=float(rng.random() * 3), min_evidence=0.0, gap=int(rng.integers(0, 4)),
        anchored=bool(rng.random() < 0.3),
    )  # fmt: skip


def random_proteins(rng):
    lengths = rng.integers(0, 40, rng.integers(1, 6))
    return [rng.random(n) * (rng.random(n) < rng.choice([0.1, 0.5, 0.9])) for n in lengths]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_segments_score_as_high_as_a_plain_recursion_finds_and_keep_the_rules(seed):
    rng = np.random.default_rng(seed)
    m, proteins = random_model(rng), random_proteins(rng)
    found = find_segments(activations(*proteins), 0, m)
    offsets = np.concatenate([[0], np.cumsum([len(p) for p in proteins])])
    owner = np.searchsorted(offsets, found.first_K, side="right") - 1
    for p, values in enumerate(proteins):
        values = values.astype(np.float32)
        mine = [(a - offsets[p], b - offsets[p]) for a, b in
                itertools.compress(spans(found), owner == p)]  # fmt: skip
        assert all(0 <= a < b <= len(values) for a, b in mine)
        assert all(b - a in m.lengths for a, b in mine)
        assert all(later[0] - earlier[1] >= m.gap for earlier, later in itertools.pairwise(mine))
        if m.anchored:
            assert [a for a, _ in mine] in ([], [0])
        assert scored(mine, odds_of(values, m), m) == pytest.approx(slow_best(values, m))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_protein_s_segments_do_not_depend_on_the_batch(seed):
    rng = np.random.default_rng(seed)
    m, proteins = random_model(rng), random_proteins(rng)
    whole = find_segments(activations(*proteins), 0, m)
    parts, scores, shift = [], [], 0
    for values in proteins:
        alone = find_segments(activations(values), 0, m)
        parts += [(a + shift, b + shift) for a, b in spans(alone)]
        scores += alone.score_K.tolist()
        shift += len(values)
    assert spans(whole) == parts
    assert whole.score_K.tolist() == scores


def test_a_long_stretch_over_two_helices_becomes_two_calls():
    helices = model(lengths=(19, 20, 21, 22, 23), log_lengths=(-1.0, -0.5, 0.0, -0.5, -1.0), gap=2)
    values = [0.0] * 10 + [0.8] * 48 + [0.0] * 10
    (first, second) = spans(find_segments(activations(values), 0, helices))
    assert first[1] - first[0] in range(19, 24)
    assert second[1] - second[0] in range(19, 24)
    assert first[0] >= 8
    assert second[0] - first[1] >= 2


def test_one_strong_residue_is_no_helix():
    helices = model(lengths=(20, 21), log_lengths=(0.0, 0.0))
    assert spans(find_segments(activations([0.0] * 20 + [1.0] + [0.0] * 20), 0, helices)) == []


def test_anchored_segments_begin_at_the_first_residue():
    signal = model(lengths=(6, 8), log_lengths=(0.0, 0.0), anchored=True)
    found = find_segments(activations([0, 0, 0.9, 0.9, 0.9, 0.9, 0, 0, 0.9, 0.9]), 0, signal)
    assert spans(found) == [(0, 6)]
    assert spans(find_segments(activations([0.0] * 8 + [0.9] * 8), 0, signal)) == []


def test_a_higher_cost_makes_fewer_calls():
    values = np.random.default_rng(0).random(300)
    counts = [len(spans(find_segments(activations(values), 0, model(cost=c)))) for c in (0.0, 3, 9)]
    assert counts[0] >= counts[1] >= counts[2]
    assert counts[0] > counts[2]


def test_segments_with_too_little_evidence_are_no_calls():
    values = [0, 0.9, 0.9, 0.9, 0, 0, 0, 0, 0.9, 0.9, 0.9, 0.9, 0]
    strict = model(min_evidence=6.5)  # 4 residues: 8 - 1; 3 residues: 6 - 0.5 - 1
    assert spans(find_segments(activations(values), 0, model())) == [(1, 4), (8, 12)]
    assert spans(find_segments(activations(values), 0, strict)) == [(8, 12)]


def test_a_stored_model_is_read_back():
    stored = json.loads(json.dumps(model().to_dict()))
    assert SegmentModel.from_dict(stored) == model()


@pytest.mark.parametrize(
    "wrong",
    [{"edges": []}, {"log_odds": [0.5, 0.5, 2.0]}, {"lengths": [4, 3, 6]}, {"lengths": [0, 3, 6]},
     {"log_lengths": [0.1, 0.0, 0.0]}, {"cost": -1.0}, {"min_evidence": -0.1}, {"gap": 1.5},
     {"anchored": "yes"}, {"cost": float("nan")}, {"more": 1}, {"lengths": None}],
)  # fmt: skip
def test_what_is_no_segment_model_is_refused(wrong):
    with pytest.raises(InputError, match="no stored segment decoder"):
        SegmentModel.from_dict(model().to_dict() | wrong)
