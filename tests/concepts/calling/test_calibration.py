import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from plmsae.concepts.calling.calibration import (
    call_precision,
    effective_calls,
    highest_bar,
    meets,
    wilson_interval,
)
from plmsae.core.errors import InputError


@given(trials=st.integers(1, 500), data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_interval_is_wilsons(trials, data):
    successes = data.draw(st.integers(0, trials))
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    low, high = wilson_interval(successes, trials)
    assert np.allclose([low, high], [expected.low, expected.high])


def test_no_trials_give_no_interval():
    assert np.isnan(wilson_interval(0, 0)).all()


def test_the_effective_number_of_calls_is_that_of_clusters_when_each_has_as_many():
    concept = np.array([0] * 12 + [1] * 3)
    cluster = np.array([1, 2, 3] * 4 + [7, 8, 9])
    assert effective_calls(concept, cluster, 3).tolist() == [3.0, 3.0, 0.0]


def test_one_family_with_many_calls_proves_little():
    right = np.ones(40, dtype=bool)
    concept = np.zeros(40, dtype=np.int64)
    alone = call_precision(right, concept, 1)
    one_family = call_precision(right, concept, 1, np.zeros(40, dtype=np.int64))
    many = call_precision(right, concept, 1, np.arange(40))
    assert alone["call_precision_low"][0] > 0.9
    assert one_family["call_precision_low"][0] < 0.3
    assert many.equals(alone)
    assert one_family["call_precision"][0] == one_family["call_precision_high"][0] == 1.0


def test_concepts_without_calls_have_nulls_and_abstain():
    frame = call_precision(np.array([True]), np.array([1]), 2)
    assert frame.row(0) == (None, None, None, 0, 0, 0)
    assert meets(frame, 0.0).to_list() == [False, True]


def test_the_lower_bound_must_reach_the_target_and_not_the_estimate():
    frame = pl.DataFrame({"call_precision": [0.95, 0.99], "call_precision_low": [0.85, 0.92]})
    assert meets(frame, 0.9).to_list() == [False, True]
    with pytest.raises(InputError, match=r"share.*'90'"):
        meets(frame, 90)


def test_the_annotators_word_counts_whatever_the_best_pair_reached_on_report():
    frame = pl.DataFrame(
        {
            "call_precision_low": [0.9, 0.9, 0.5, 0.9, None, float("nan")],
            "abstains_at": [None, 0.8, 0.8, 0.0, None, 0.8],
        }
    )
    assert meets(frame, 0.9).to_list() == [True, False, False, False, False, False]
    assert meets(frame, 0.8).to_list() == [True, False, False, False, False, False]
    assert meets(frame, 0.79).to_list() == [True, True, False, False, False, False]
    assert meets(frame, 0.0).to_list() == [True, True, True, False, False, False]
    bars = highest_bar(frame).to_list()
    assert bars[0] == 0.9
    assert 0.79999 < bars[1] < 0.8
    assert bars[2:] == [0.5, None, None, None]
    # A table from before annotators is taken at its word.
    assert highest_bar(frame.drop("abstains_at")).to_list() == [0.9, 0.9, 0.5, 0.9, None, None]
