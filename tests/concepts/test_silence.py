"""What is promised where a table is silent, against tables from which labels were taken."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.concepts.calibration import wilson_interval
from plmsae.concepts.silence import silent_precision
from plmsae.errors import InputError


def silent(p, share):
    return pl.select(silent_precision(pl.lit(float(p)), share)).item()


@given(tp=st.integers(0, 500), fp=st.integers(0, 500), share=st.floats(0.01, 1))
@settings(max_examples=60, deadline=None)
def test_it_is_the_share_of_true_calls_left_where_the_table_is_silent(tp, fp, share):
    if tp + fp == 0:
        return
    expected = tp * share / (tp * share + fp) if tp or fp else 0
    assert silent(tp / (tp + fp), share) == pytest.approx(expected)


def test_a_simulated_table_keeps_the_promise_and_the_interval_covers_it():
    rng = np.random.default_rng(0)
    precision, share, n_calls = 0.7, 0.2, 150
    covered, found = 0, []
    for _ in range(400):
        measured = rng.binomial(n_calls, precision)
        low, high = wilson_interval(measured, n_calls)
        # A new table: true calls lose their label by chance, false ones never had any.
        right = rng.random(20_000) < precision
        is_silent = ~right | (rng.random(20_000) < share)
        found.append(right[is_silent].mean())
        covered += silent(low, share) <= found[-1] <= silent(high, share)
    assert np.mean(found) == pytest.approx(silent(precision, share), abs=0.005)
    assert covered / 400 == pytest.approx(0.95, abs=0.035)


def test_an_incomplete_table_of_measurement_makes_it_a_lower_bound():
    rng = np.random.default_rng(1)
    right = rng.random(100_000) < 0.9
    labelled = right & (rng.random(100_000) > 0.1)  # the table on which precision is measured
    truly_right = right[~labelled].mean()
    assert silent(labelled.mean(), 0.1) < truly_right - 0.1


def test_what_was_not_measured_stays_unknown_and_ends_stay_ends():
    frame = pl.DataFrame({"p": [0.0, None, 1.0]}).select(silent_precision(pl.col("p"), 0.1))
    assert frame["p"].to_list() == [0.0, None, 1.0]
    assert silent(0.32, 1.0) == pytest.approx(0.32)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(InputError, match="labels that the table lacks"):
        silent(0.5, share)
