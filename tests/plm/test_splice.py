from __future__ import annotations

import pytest
import torch
from tiny import save_tiny, tiny_masked_lm

from plmsae.core.errors import InputError
from plmsae.plm.fidelity import fidelity
from plmsae.plm.model import load_plm
from plmsae.plm.perplexity import masked_perplexity

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "ACDEFGHIKLMNPQRSTVWY" * 2]


@pytest.fixture
def plm(tmp_path):
    return load_plm(str(save_tiny(tmp_path / "tiny")), device="cpu", head=True)


@pytest.mark.parametrize("layer", [0, 1, 3])
@pytest.mark.parametrize("masked", [True, False])
def test_replacing_a_layer_by_itself_loses_nothing(plm, layer, masked):
    result = fidelity(plm, SEQUENCES, layer, lambda x: x, masked=masked)
    assert result.replaced == pytest.approx(result.own, abs=1e-6)
    assert result.loss_recovered == pytest.approx(1, abs=1e-5)
    assert result.kl == pytest.approx(0, abs=1e-9)


def test_replacing_a_layer_by_zero_recovers_nothing(plm):
    result = fidelity(plm, SEQUENCES, 2, torch.zeros_like)
    assert result.loss_recovered == pytest.approx(0, abs=1e-6)
    assert result.kl > 0


def test_the_mean_is_another_end_than_zero(plm):
    mean_D = torch.linspace(-1, 1, 16) ** 3
    result = fidelity(plm, SEQUENCES, 2, lambda x: mean_D.expand_as(x), mean_D=mean_D)
    assert result.mean == pytest.approx(result.replaced, abs=1e-6)
    assert result.loss_recovered_mean == pytest.approx(0, abs=1e-4)
    assert result.mean != pytest.approx(result.zero, abs=1e-4)
    without = fidelity(plm, SEQUENCES, 2, lambda x: mean_D.expand_as(x))
    assert without.loss_recovered_mean is None
    assert without.loss_recovered == pytest.approx(result.loss_recovered, abs=1e-9)


def test_a_checkpoint_without_a_head_is_not_given_a_random_one(tmp_path, caplog):
    tiny_masked_lm().esm.save_pretrained(tmp_path / "body")
    plm = load_plm(str(tmp_path / "body"), device="cpu", head=True)
    assert plm.masked_lm is None
    assert "no language-modelling head" in caplog.text
    assert [i for i, _ in plm.activations(SEQUENCES, [3])] == [1, 0]


def test_every_standard_residue_is_predicted_when_none_is_masked(plm):
    result = fidelity(plm, SEQUENCES, 1, lambda x: x, masked=False)
    assert result.n_positions == sum(map(len, SEQUENCES))


def test_the_own_loss_is_the_librarys(plm):
    from transformers import EsmForMaskedLM

    sequence = SEQUENCES[0]
    ids, _ = plm.pack([sequence])
    model: EsmForMaskedLM = plm.masked_lm
    with torch.no_grad():
        logits = model(input_ids=ids[None], attention_mask=torch.ones_like(ids[None])).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[1:-1], ids[1:-1]).item()
    assert fidelity(plm, [sequence], 1, lambda x: x, masked=False).own == pytest.approx(
        loss, rel=1e-5
    )


def test_perplexity_of_a_spliced_model_needs_its_head(tmp_path):
    plm = load_plm(str(save_tiny(tmp_path / "t")), device="cpu")
    with pytest.raises(InputError, match="head"):
        fidelity(plm, SEQUENCES, 1, lambda x: x)


def test_masked_perplexity_is_repeatable(plm):
    one = masked_perplexity(plm, SEQUENCES, seed=3)
    assert one == masked_perplexity(plm, SEQUENCES, seed=3)
    assert one.n_masked == 3 + 6
