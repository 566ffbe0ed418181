from __future__ import annotations

import pytest
import torch
from steering_world import D_SAE, SEQUENCE, make_encoder
from tiny import save_tokenizer, tiny_masked_lm

from plmsae.core.errors import InputError
from plmsae.encode import Encoder
from plmsae.plm.model import load_plm
from plmsae.sae.config import SaeConfig
from plmsae.sae.model import build_sae
from plmsae.steering.prompt import open_prompt


def test_predictions_at_masks_are_the_librarys(encoder, plm_folder):
    from transformers import AutoTokenizer, EsmForMaskedLM

    prompt = open_prompt(encoder, SEQUENCE, [3, 10])
    tokenizer = AutoTokenizer.from_pretrained(plm_folder)
    ids = tokenizer(SEQUENCE, return_tensors="pt")
    ids["input_ids"][0, [3, 10]] = tokenizer.mask_token_id
    with torch.no_grad():
        expected = EsmForMaskedLM.from_pretrained(plm_folder).eval()(**ids).logits[0, 1:-1]
    assert torch.allclose(prompt.logits([prompt.x_LD])[0], expected, atol=1e-4)


def test_versions_that_run_together_do_not_see_one_another(encoder):
    prompt = open_prompt(encoder, SEQUENCE)
    other = prompt.x_LD + 1
    alone = prompt.logits([other])[0]
    assert torch.allclose(prompt.logits([prompt.x_LD, other, prompt.x_LD])[1], alone, atol=1e-5)


def test_probabilities_are_over_the_twenty_amino_acids(encoder):
    log_p = open_prompt(encoder, SEQUENCE).log_probabilities([torch.zeros(len(SEQUENCE), 16)])
    assert log_p.shape == (1, len(SEQUENCE), 20)
    assert torch.allclose(log_p.exp().sum(-1), torch.ones(1, len(SEQUENCE), dtype=torch.float64))


@pytest.mark.parametrize(
    ("sequence", "masked", "said"),
    [
        ("", [], "--sequence: .*1 to 64 residues"),
        ("A" * 65, [], "1 to 64 residues"),
        ("MK-TA", [], "position 3 is no residue"),
        ("MKTA", [5], "--mask: the sequence has positions 1 to 4"),
        ("MKTA", [0], "positions 1 to 4"),
    ],
)
def test_what_cannot_be_read_is_named(encoder, sequence, masked, said):
    with pytest.raises(InputError, match=said):
        open_prompt(encoder, sequence, masked)


def test_what_cannot_be_steered_is_refused_in_one_line(encoder, plm_folder, tmp_path):
    protein = Encoder(encoder.plm, 2, encoder.sae, unit="protein")
    transcoder = make_encoder(plm_folder, target="layer")
    tiny_masked_lm().esm.save_pretrained(tmp_path / "body")
    save_tokenizer(tmp_path / "body")
    body = load_plm(str(tmp_path / "body"), device="cpu", head=True)
    sae = build_sae(SaeConfig(arch="topk", d_in=16, d_sae=D_SAE, k=4))
    for wrong, said in (
        (protein, "protein-level"),
        (transcoder, "transcoder"),
        (Encoder(body, 2, sae), "--fit-head"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            open_prompt(wrong, SEQUENCE)
        assert "\n" not in str(caught.value)
