from __future__ import annotations

import pytest
from small import CASES, MASKED, SEQUENCES

from plmsae.core.errors import InputError
from plmsae.plm.facts import plm_facts
from plmsae.plm.fidelity import fidelity
from plmsae.plm.model import load_plm
from plmsae.plm.perplexity import masked_perplexity


@pytest.mark.parametrize(
    ("name", "reason"), [("ankh", "without its decoder"), ("zymctrl", "predicts the next residue")]
)
def test_what_needs_masked_predictions_says_why_there_are_none(tmp_path, caplog, name, reason):
    plm = load_plm(str(CASES[name].save(tmp_path / "plm")), device="cpu", head=True)
    assert plm.masked_lm is None
    assert reason in caplog.text
    for masked in (True, False):
        with pytest.raises(InputError, match=f"plm predicts no masked residues: .*{reason}"):
            fidelity(plm, SEQUENCES, 1, lambda x: x, masked=masked)
    with pytest.raises(InputError, match=reason):
        masked_perplexity(plm, SEQUENCES)
    with pytest.raises(InputError, match="no mask token"):
        _ = plm.vocabulary.mask_id


@pytest.mark.parametrize("name", MASKED)
def test_what_needs_masked_predictions_gets_them(tmp_path, name):
    plm = load_plm(str(CASES[name].save(tmp_path / "plm")), device="cpu", head=True)
    result = fidelity(plm, SEQUENCES, 2, lambda x: x)
    assert result.loss_recovered == pytest.approx(1, abs=1e-5)
    assert masked_perplexity(plm, SEQUENCES).perplexity > 1


@pytest.mark.parametrize("name", MASKED)
def test_a_checkpoint_without_its_head_is_not_given_a_random_one(tmp_path, caplog, name):
    folder = CASES[name].save(tmp_path / "plm")
    load_plm(str(folder), device="cpu", head=True).model.save_pretrained(folder)
    assert load_plm(str(folder), device="cpu", head=True).masked_lm is None
    assert "no language-modelling head" in caplog.text


@pytest.mark.parametrize("name", ["esmc", "ankh", "protbert", "zymctrl"])
def test_layers_and_width_are_those_of_the_config(tmp_path, name):
    facts = plm_facts(str(CASES[name].save(tmp_path / "plm")))
    assert (facts.n_layers, facts.d_model) == (3, 16)
