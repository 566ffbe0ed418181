from __future__ import annotations

import polars as pl
import pytest
import torch
from steering_world import SEQUENCE

from plmsae.core.errors import InputError, NotFoundError
from plmsae.steering.controls import make_controls
from plmsae.steering.feature import open_feature
from plmsae.steering.prompt import open_prompt


def test_controls_change_the_same_residues_by_the_same_length(encoder, features, latent):
    feature = open_feature(encoder, features, latent, n_controls=3)
    prompt = open_prompt(encoder, SEQUENCE)
    change_LD = feature.change(prompt, 1.5, [4, 5, 6])
    lengths = [
        torch.linalg.vector_norm(version - prompt.x_LD, dim=1)
        for version in feature.versions(prompt, change_LD)
    ]
    assert len(lengths) == 1 + 3 + 3
    assert (lengths[0] > 0).tolist() == [i in (3, 4, 5) for i in range(len(SEQUENCE))]
    for other in lengths[1:]:
        assert torch.allclose(other, lengths[0], atol=1e-4)


def test_control_latents_are_the_nearest_in_density_and_norm(encoder):
    density = [0.1 * 1.5**-i for i in range(24)]
    features = pl.DataFrame({"latent": range(24), "density": density, "dead": [False] * 24})
    controls = make_controls(encoder.sae, features, 10, 2)
    latents = [c.number for c in controls if c.kind == "latent"]
    assert len(set(latents)) == 2
    assert 10 not in latents
    assert all(5 <= latent <= 15 for latent in latents)
    assert controls[0].unit_D.norm().item() == pytest.approx(1)


def test_controls_are_the_same_for_the_same_seed(encoder, features, latent):
    one, two, other = (make_controls(encoder.sae, features, latent, 4, seed=s) for s in (0, 0, 1))
    assert all(torch.equal(a.unit_D, b.unit_D) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one[-1].unit_D, other[-1].unit_D)


def test_a_dead_or_unknown_latent_has_no_scale(encoder, features):
    dead = features.with_columns(dead=pl.col("latent") == 3)
    for wrong in (3, 99):
        with pytest.raises(NotFoundError, match="dead, or no such latent"):
            open_feature(encoder, dead, wrong)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_values_that_no_latent_has_are_refused(encoder, features, latent, value):
    feature = open_feature(encoder, features, latent, n_controls=1)
    with pytest.raises(InputError, match="--value: a latent is 0 or more"):
        feature.change(open_prompt(encoder, SEQUENCE), value, [1])


def test_a_value_of_1_is_the_largest_activation_of_the_bundle(encoder, features, latent):
    feature = open_feature(encoder, features, latent, n_controls=0)
    prompt = open_prompt(encoder, SEQUENCE)
    activation_L = feature.activations(prompt)
    assert activation_L.max().item() == pytest.approx(1)
    peak = int(activation_L.argmax())
    # There, the value 1 is what the latent has: nothing changes.
    assert feature.change(prompt, 1.0, [peak + 1]).abs().max().item() < 1e-5
