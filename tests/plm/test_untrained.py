from __future__ import annotations

import pytest
import torch
from tiny import save_tiny

from plmsae.core.errors import InputError
from plmsae.plm.model import load_plm
from plmsae.plm.untrained import untrained_plm

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "ACDEFGHIKLMNPQRSTVWY"]


@pytest.fixture
def plm(tmp_path):
    return load_plm(str(save_tiny(tmp_path / "tiny")), device="cpu")


def states(plm, layer):
    return torch.cat([x[layer] for _, x in plm.activations(SEQUENCES, [layer])])


def test_an_untrained_plm_is_not_the_trained_one_and_follows_its_seed(plm):
    one, same, other = (untrained_plm(plm, layer=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(states(one, 2), states(same, 2))
    assert not torch.allclose(states(one, 2), states(other, 2), atol=1e-3)
    trained = dict(plm.model.named_parameters())
    for name, weight in one.model.named_parameters():
        if weight.ndim == 2:  # layer norms and biases start the same for everybody
            assert not torch.equal(weight, trained[name]), name


def test_it_has_the_shape_of_the_trained_one(plm):
    random = untrained_plm(plm, layer=2, seed=0)
    assert states(random, 2).shape == states(plm, 2).shape
    assert (random.d_model, random.max_residues) == (plm.d_model, plm.max_residues)
    assert random.revision == "random:0" != plm.revision
    shapes = {n: w.shape for n, w in plm.model.encoder.named_parameters()}
    assert all(shapes[n] == w.shape for n, w in random.model.encoder.named_parameters())


def test_the_final_layer_norm_is_that_of_the_last_layer_not_of_the_last_block_made(plm):
    def spread(layer):
        return float(states(untrained_plm(plm, layer=layer, seed=3), layer).std(dim=1).mean())

    assert spread(3) == pytest.approx(1, abs=0.05)
    assert spread(2) > 1.2
    assert spread(0) < 0.6


def test_making_one_leaves_other_random_numbers_alone(plm):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    untrained_plm(plm, layer=1, seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_a_layer_it_does_not_have_is_refused(plm):
    with pytest.raises(InputError, match="layers 0 to 3"):
        untrained_plm(plm, layer=4, seed=0)
