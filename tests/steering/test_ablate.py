from __future__ import annotations

import numpy as np
import pytest
import torch
from steering_world import SEQUENCE

from plmsae.core.errors import NotFoundError
from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.steering.ablate import ablate
from plmsae.steering.clamp import clamp
from plmsae.steering.prompt import open_prompt


def test_the_strongest_latents_are_those_whose_absence_changes_most(encoder, features):
    """The slow reference: every live latent set to 0 by itself."""
    prompt = open_prompt(encoder, SEQUENCE, [4])
    before = prompt.log_probabilities([prompt.x_LD])[0]
    highest = {}
    for latent in features.filter(~features["dead"])["latent"]:
        after = prompt.log_probabilities([clamp(encoder.sae, prompt.x_LD, latent, 0.0)])[0]
        highest[latent] = float((before.exp() * (before - after)).sum(1).max())
    table = ablate(encoder, features, prompt, n_latents=3, n_controls=2)
    assert (
        table["latent"].unique(maintain_order=True).to_list()
        == sorted(highest, key=lambda latent: -highest[latent])[:3]
    )
    assert table.height == 3 * len(SEQUENCE)
    first = table.filter(latent=max(highest, key=lambda latent: highest[latent]))
    assert first["kl"].max() == pytest.approx(max(highest.values()))


def test_what_an_ablation_does_to_the_residue_of_the_sequence(encoder, features, latent):
    prompt = open_prompt(encoder, SEQUENCE)
    table = ablate(encoder, features, prompt, latents=[latent], n_controls=2)
    changed = clamp(encoder.sae, prompt.x_LD, latent, 0.0)
    before, after = prompt.log_probabilities([prompt.x_LD, changed])
    own = [AMINO_ACIDS.index(c) for c in SEQUENCE]
    expected = (after - before)[torch.arange(len(own)), own].numpy()
    assert table["delta_log_p"].to_numpy() == pytest.approx(expected, abs=1e-5)
    needed = table.filter("needed")
    assert (needed["delta_log_p"] < needed["delta_log_p_control"]).all()
    assert (table["delta_log_p_control"] <= 0).all()


def test_a_residue_outside_the_twenty_has_no_log_probability(encoder, features, latent):
    prompt = open_prompt(encoder, SEQUENCE[:9] + "X" + SEQUENCE[10:])
    table = ablate(encoder, features, prompt, latents=[latent], n_controls=1)
    assert table["delta_log_p"].null_count() == 1
    assert not table["needed"][9]
    assert np.isfinite(table["kl"].to_numpy()).all()


def test_a_latent_that_does_not_exist_is_named(encoder, features):
    with pytest.raises(NotFoundError, match="--latent"):
        ablate(encoder, features, open_prompt(encoder, SEQUENCE), latents=[999])
