"""How the SAE of an untrained PLM is made out of the real one's configuration."""

from __future__ import annotations

import dataclasses

import pytest

from plmsae.sae.config import SaeConfig
from plmsae.workflows.evaluating.random_baseline import _config, _settings
from plmsae.workflows.shared.requests import EvaluateRequest


def request(**changes):
    return EvaluateRequest(model="m", concepts="c", **changes)


def test_the_configuration_is_that_of_the_real_sae():
    for config in (
        SaeConfig(d_in=16, d_sae=64, k=8),
        SaeConfig(arch="matryoshka", d_in=16, d_sae=64, k=8, levels=(16, 64)),
        SaeConfig(arch="batchtopk", d_in=16, d_sae=64, k=8, input_norm="layer_norm"),
    ):
        assert _config(config, 3.3) == config


def test_an_sae_that_fixes_no_number_is_pressed_to_what_the_real_one_has():
    imported = SaeConfig(arch="relu", d_in=16, d_sae=64, k=None)
    assert _config(imported, 17.6) == dataclasses.replace(imported, k=18)
    assert _config(imported, 0.0).k == 1


def test_a_transcoder_is_compared_with_an_autoencoder_of_what_it_reads():
    made = _config(SaeConfig(d_in=16, d_sae=64, k=8, target="layer", d_out=24), 8)
    assert not made.is_transcoder
    assert (made.d_target, made.k, made.d_sae) == (16, 8, 64)
    assert made.apply_b_dec_to_input


@pytest.mark.parametrize(
    ("vectors", "batch"), [(64, 64), (50_000, 125), (100_000, 250), (5_000_000, 2048)]
)
def test_a_short_run_has_small_batches_so_that_it_has_steps(vectors, batch):
    settings = _settings(request(random_vectors=vectors, seed=4), "cpu")
    assert settings.batch_size == batch
    assert settings.seed == 4
    assert settings.total_steps * batch <= vectors
