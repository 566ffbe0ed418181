from __future__ import annotations

import polars as pl
import pytest
import torch
from steering_world import SEQUENCE, make_encoder

from plmsae.core.errors import InputError
from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.steering.dose_response import dose_response, larger_than, predictions
from plmsae.steering.feature import open_feature
from plmsae.steering.prompt import open_prompt

POSITIONS = [10, 11, 12]


@pytest.fixture
def feature(encoder, features, latent):
    return open_feature(encoder, features, latent, n_controls=3)


@pytest.fixture
def prompt(encoder):
    return open_prompt(encoder, SEQUENCE, [12, 20])


def test_predictions_have_a_distribution_before_and_after_for_every_residue(feature, prompt):
    table = predictions(feature, prompt, 1.5, POSITIONS)
    assert table.height == 20 * len(SEQUENCE)
    by_residue = table.group_by("position").agg(pl.col("p_before", "p_after").sum())
    assert by_residue["p_before"].to_numpy() == pytest.approx(1)
    assert by_residue["p_after"].to_numpy() == pytest.approx(1)
    assert set(table.filter("masked")["position"]) == {12, 20}
    assert set(table.filter("steered")["position"]) == set(POSITIONS)
    # Attention passes the change on: residues that were not steered are predicted otherwise.
    far = table.filter(pl.col("position") == 25)
    assert (far["p_before"] - far["p_after"]).abs().max() > 1e-6


def test_mean_kl_is_that_of_the_predictions(feature, prompt):
    doses = dose_response(feature, prompt, POSITIONS, doses=[1.5], target="G")
    table = predictions(feature, prompt, 1.5, POSITIONS)
    kl = (pl.col("p_before") * (pl.col("p_before").log() - pl.col("p_after").log())).sum()
    glycine = pl.col("p_after").filter(pl.col("amino_acid") == "G")
    for (masked, steered), rows in table.group_by("masked", "steered"):
        n = rows["position"].n_unique()
        own = doses.filter(kind="feature", masked=masked, steered=steered)
        assert own["n_residues"].to_list() == [n]
        assert own["kl"][0] == pytest.approx(rows.select(kl).item() / n)
        assert own["p_after"][0] == pytest.approx(rows.select(glycine.mean()).item())


def test_larger_values_change_predictions_more(feature, prompt):
    doses = dose_response(feature, prompt, POSITIONS, doses=[1, 2, 4])
    for _, rows in doses.filter(kind="feature").group_by("masked", "steered"):
        assert rows.sort("value")["kl"].is_sorted()


def test_the_same_seed_gives_the_same_table(encoder, features, latent, prompt):
    def once(seed: int) -> pl.DataFrame:
        feature = open_feature(encoder, features, latent, n_controls=2, seed=seed)
        return dose_response(feature, prompt, POSITIONS, doses=[0, 1])

    assert once(0).equals(once(0))
    assert not once(0).equals(once(1))


def test_the_feature_is_held_against_each_kind_of_control(feature, prompt):
    doses = dose_response(feature, prompt, POSITIONS, doses=[2], target="A")
    verdict = larger_than(doses, 2)
    assert verdict.height == 4 * 2
    row = verdict.filter(masked=True, steered=False, control="direction").row(0, named=True)
    rows = doses.filter(masked=True, steered=False)
    others = rows.filter(kind="direction")
    assert row["n_smaller"] == (others["kl"] < row["kl"]).sum()
    assert row["kl_max"] == others["kl"].max()
    assert (row["p_low"], row["p_high"]) == (others["p_after"].min(), others["p_after"].max())


def test_an_unknown_target_is_named(feature, prompt):
    with pytest.raises(InputError, match="--target: one of the 20 amino acids"):
        dose_response(feature, prompt, POSITIONS, target="GG")


def test_a_latent_written_for_an_amino_acid_raises_its_probability(plm_folder, features):
    """The sign: a decoder row that points to what the head reads as tryptophan."""
    encoder = make_encoder(plm_folder, layer=3)
    prompt = open_prompt(encoder, SEQUENCE, [8])
    token = encoder.plm.vocabulary.standard[AMINO_ACIDS.index("W")]
    x_LD = prompt.x_LD.clone().requires_grad_(True)
    encoder.plm.logits(x_LD)[7].log_softmax(-1)[token].backward()
    with torch.no_grad():
        encoder.sae.W_dec_FD[0] = x_LD.grad[7] / x_LD.grad[7].norm()
    code = encoder.sae.encode(prompt.x_LD)
    live = features.with_columns(dead=pl.lit(False), max_activation=pl.lit(0.3))
    feature = open_feature(encoder, live, 0, n_controls=0)
    assert not (code.indices[code.rows() == 7] == 0).any()
    after = predictions(feature, prompt, 1.0, [8]).filter(position=8, amino_acid="W")
    assert after["p_after"][0] > after["p_before"][0]
