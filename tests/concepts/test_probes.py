import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import roc_auc_score

from plmsae.concepts.calibrators import expected_calibration_error, reliability
from plmsae.concepts.probes import fit_probe
from plmsae.errors import InputError


@pytest.fixture(scope="module")
def planted():
    """The concept is where latent 3 or latent 7 fires, and 5 % of the rest."""
    rng = np.random.default_rng(0)
    dense = rng.random((6000, 40)) * (rng.random((6000, 40)) < 0.1)
    truth = rng.random(6000) < np.where((dense[:, 3] > 0.2) | (dense[:, 7] > 0.2), 0.9, 0.05)
    fold = rng.choice(["fit", "select", "calibrate", "test"], 6000)
    return csr_array(dense.astype(np.float32)), truth, fold


def test_a_probe_finds_the_few_latents_that_matter_and_is_calibrated(planted):
    scaled, truth, fold = planted
    probe = fit_probe(scaled, truth, fold)
    assert {3, 7} <= set(probe.latents)
    assert len(probe.latents) <= 20
    held = np.flatnonzero(fold == "test")
    probability = probe.probability(csr_array(scaled[held]))
    one = scaled[held].toarray()[:, 3]
    assert roc_auc_score(truth[held], probability) > roc_auc_score(truth[held], one) + 0.1
    assert expected_calibration_error(reliability(probability, truth[held])) < 0.05


def test_the_latents_are_no_more_than_allowed(planted):
    scaled, truth, fold = planted
    assert set(fit_probe(scaled, truth, fold, max_latents=2).latents) <= {3, 7}


def test_the_base_rate_comes_from_rows_that_were_not_sampled(planted):
    scaled, truth, fold = planted
    probe = fit_probe(scaled, truth, fold, max_rows=1000)
    held = np.flatnonzero(fold == "test")
    assert probe.probability(csr_array(scaled[held])).mean() == pytest.approx(
        truth[held].mean(), abs=0.03
    )


def test_a_concept_without_a_trace_gives_the_base_rate():
    rng = np.random.default_rng(1)
    scaled = csr_array((rng.random((900, 5)) < 0.1).astype(np.float32))
    truth, fold = rng.random(900) < 0.2, np.tile(["fit", "select", "calibrate"], 300)
    probability = fit_probe(scaled, truth, fold).probability(scaled)
    assert np.all(np.abs(probability - 0.2) < 0.15)


def test_folds_without_the_concept_are_refused(planted):
    scaled, truth, fold = planted
    with pytest.raises(InputError, match="without the concept in 'select'"):
        fit_probe(scaled, truth & (fold != "select"), fold)
