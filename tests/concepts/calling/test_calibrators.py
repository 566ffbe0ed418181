import json

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from plmsae.concepts.calling.calibrators import (
    Calibrator,
    expected_calibration_error,
    fit_calibrator,
    log_loss,
    reliability,
)
from plmsae.core.errors import InputError


def sample(seed, n, shape):
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n) * 3
    return score, rng.random(n) < shape(score)


def sigmoid(score):
    return 1 / (1 + np.exp(-(2 * score - 1)))


def staircase(score):
    return np.select([score < -2, score < 0, score < 2], [0.02, 0.5, 0.55], 0.97)


def test_platt_recovers_a_sigmoid():
    score, truth = sample(0, 20_000, sigmoid)
    fitted = fit_calibrator(score, truth, method="platt")
    assert fitted.x == pytest.approx((2, -1), abs=0.15)


def test_the_kind_is_chosen_by_held_out_loss():
    assert fit_calibrator(*sample(1, 300, sigmoid)).method == "platt"
    assert fit_calibrator(*sample(1, 20_000, staircase)).method == "isotonic"


def test_isotonic_is_scikit_learns():
    score, truth = sample(2, 500, sigmoid)
    fitted = fit_calibrator(score, truth, method="isotonic")
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, truth)
    grid = np.linspace(-12, 12, 200)
    assert np.allclose(fitted(grid), theirs.predict(grid), atol=2e-6)


def test_a_clean_split_stays_finite():
    fitted = fit_calibrator([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], method="platt")
    assert np.isfinite(fitted.x).all()
    assert np.isfinite(log_loss(fitted([0.0, 1.0]), [True, False]))


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibrated_probabilities_have_a_small_error_on_new_data(method):
    fitted = fit_calibrator(*sample(3, 5000, sigmoid), method=method)
    score, truth = sample(4, 5000, sigmoid)
    assert expected_calibration_error(reliability(fitted(score), truth)) < 0.03


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_calibrator_survives_json(method):
    fitted = fit_calibrator(*sample(5, 200, sigmoid), method=method)
    again = Calibrator.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again == fitted


@pytest.mark.parametrize(
    "wrong",
    [{}, {"method": "pickle"}, {"method": "platt", "x": [1.0]},
     {"method": "isotonic", "x": [2.0, 1.0], "y": [0.0, 1.0]}],
)  # fmt: skip
def test_what_is_no_calibrator_is_refused(wrong):
    with pytest.raises(InputError, match="no stored calibrator"):
        Calibrator.from_dict(wrong)


def test_the_top_bin_holds_certainty():
    curve = reliability([0.05, 0.95, 1.0], [False, True, True])
    assert curve["n"].to_list() == [1, 2]
    assert curve["bin_high"].to_list() == [0.1, 1.0]
    assert expected_calibration_error(curve) == pytest.approx((0.05 + 2 * 0.025) / 3)


def test_one_outcome_is_nothing_to_calibrate_on():
    with pytest.raises(InputError, match="2 of 2 are positive"):
        fit_calibrator([0.1, 0.2], [1, 1])
