from __future__ import annotations

import pytest
import torch
from steering_world import SEQUENCE, make_encoder

from plmsae.steering.clamp import clamp, clamp_code, latent_values
from plmsae.steering.prompt import open_prompt

ALL = range(1, len(SEQUENCE) + 1)


@pytest.mark.parametrize("input_norm", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("layer", [0, 2, 3])
def test_the_value_a_latent_has_leaves_the_logits_as_they_are(plm_folder, layer, input_norm):
    encoder = make_encoder(plm_folder, layer=layer, input_norm=input_norm)
    prompt = open_prompt(encoder, SEQUENCE, [5, 9])
    code = encoder.sae.encode(prompt.x_LD)
    own = prompt.logits([prompt.x_LD])
    # The reconstruction of an untrained SAE is far off: it is the error term that saves the logits.
    assert not torch.allclose(encoder.sae.decode(code, prompt.x_LD), prompt.x_LD, atol=0.1)
    for latent in code.indices.unique().tolist():
        same = clamp(encoder.sae, prompt.x_LD, latent, latent_values(code, latent))
        assert torch.allclose(prompt.logits([same]), own, atol=1e-5)


def test_logits_are_the_librarys_with_the_same_vector_added_by_a_hook(encoder, latent, plm_folder):
    """The reference: transformers' own forward pass, layer 2 changed by a hook."""
    from transformers import AutoTokenizer, EsmForMaskedLM

    prompt = open_prompt(encoder, SEQUENCE, [7])
    value = 3.0
    current_L = latent_values(encoder.sae.encode(prompt.x_LD), latent)
    added_LD = (value - current_L)[:, None] * encoder.sae.W_dec_FD[latent]

    def hook(module, inputs, output):
        states = output[0] if isinstance(output, tuple) else output
        changed = states.clone()
        changed[0, 1:-1] += added_LD
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    model = EsmForMaskedLM.from_pretrained(plm_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(plm_folder)
    ids = tokenizer(SEQUENCE, return_tensors="pt")
    ids["input_ids"][0, 7] = tokenizer.mask_token_id
    model.esm.encoder.layer[1].register_forward_hook(hook)
    with torch.no_grad():
        expected = model(**ids).logits[0, 1:-1]
    ours = prompt.logits([clamp(encoder.sae, prompt.x_LD, latent, value)])[0]
    assert not torch.allclose(ours, prompt.logits([prompt.x_LD])[0], atol=1e-2)
    assert torch.allclose(ours, expected, atol=1e-4)


def test_raising_a_latent_moves_along_its_decoder_row_and_lowering_against_it(encoder, latent):
    prompt = open_prompt(encoder, SEQUENCE)
    current_L = latent_values(encoder.sae.encode(prompt.x_LD), latent)
    row_D = encoder.sae.W_dec_FD[latent]
    for value in (0.0, 0.4, 5.0):
        moved_L = (clamp(encoder.sae, prompt.x_LD, latent, value) - prompt.x_LD) @ row_D
        assert torch.allclose(moved_L, value - current_L, atol=1e-5)


def test_a_latent_that_is_set_displaces_no_other(encoder, latent):
    x_LD = open_prompt(encoder, SEQUENCE).x_LD
    code = encoder.sae.encode(x_LD)
    changed = clamp_code(code, latent, torch.full((len(x_LD),), 2.5))
    before, after = (c.to_csr(encoder.sae.config.d_sae).toarray() for c in (code, changed))
    assert (after[:, latent] == 2.5).all()
    before[:, latent] = after[:, latent]
    assert (before == after).all()
