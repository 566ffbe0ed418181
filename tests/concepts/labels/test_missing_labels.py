"""What is promised where a table has no label, against tables from which labels were taken."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.concepts.calling.calibration import wilson_interval
from plmsae.concepts.labels.missing_labels import (
    read_missing_shares,
    share_by_concept,
    unlabelled_precision,
)
from plmsae.core.errors import InputError


def silent(p, share):
    return pl.select(unlabelled_precision(pl.lit(float(p)), share)).item()


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
    frame = pl.DataFrame({"p": [0.0, None, 1.0]}).select(unlabelled_precision(pl.col("p"), 0.1))
    assert frame["p"].to_list() == [0.0, None, 1.0]
    assert silent(0.32, 1.0) == pytest.approx(0.32)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(InputError, match="labels that the table lacks"):
        silent(0.5, share)


def test_a_share_may_be_given_by_concept_and_by_class():
    frame = pl.DataFrame({"concept": ["Domain: SH3", "Domain: PH", "Domain", "Helix", "Motif"]})
    shares = {"Domain": 0.2, "Domain: PH": 0.5, "Helix": 0.0}
    found = frame.select(share_by_concept(0.1, shares))
    assert found.to_series().to_list() == [0.2, 0.5, 0.2, 0.0, 0.1]
    assert frame.select(share_by_concept(0.1).alias("s"))["s"].unique().to_list() == [0.1]


def test_where_nothing_is_missing_no_call_is_right_however_sure():
    frame = pl.DataFrame({"p": [1.0, 0.9, None], "m": [0.0, 0.0, 0.0]})
    silent_too = frame.select(unlabelled_precision(pl.col("p"), pl.col("m")))
    assert silent_too["p"].to_list() == [0.0, 0.0, None]


def test_one_share_for_all_promises_too_much_of_a_nearly_complete_kind():
    rng = np.random.default_rng(2)
    frame = pl.DataFrame({"concept": ["often", "seldom"], "p": [0.7, 0.7]})
    truth = {"often": 0.5, "seldom": 0.05}
    found = []
    for name in frame["concept"]:
        right = rng.random(100_000) < 0.7
        found.append(right[~right | (rng.random(100_000) < truth[name])].mean())
    one, each = (
        frame.select(unlabelled_precision(pl.col("p"), share_by_concept(0.3, known)))[
            "p"
        ].to_numpy()
        for known in (None, truth)
    )
    assert one[1] > found[1] + 0.25
    assert each == pytest.approx(found, abs=0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("concept\tshare\nHelix\t0.1\n", "no column 'missing_share'"),
        ("concept\tmissing_share\nHelix\t10%\n", r"must lie in \[0, 1\].*Helix: 10%"),
        ("concept\tmissing_share\nA\t0\nHelix\t1.5\n", "line 3"),
        ("concept\tmissing_share\nHelix\t0\nHelix\t1\n", "named, and once"),
        ("", "file is empty"),
    ],
)
def test_a_table_of_shares_that_does_not_fit_is_one_line(tmp_path, text, message):
    path = tmp_path / "shares.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_missing_shares(path)
    assert "\n" not in str(caught.value)


def test_shares_are_read_by_concept(tmp_path):
    path = tmp_path / "shares.tsv"
    path.write_text("concept\tmissing_share\tnote\nDomain: SH3\t0.25\tguess\nHelix\t0\t\n")
    assert read_missing_shares(path) == {"Domain: SH3": 0.25, "Helix": 0.0}
