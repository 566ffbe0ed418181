"""A real ESM-2 8M by our packed forward and by the library's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import library_states

from plmsae.plm.model import load_plm
from plmsae.plm.perplexity import choose_proteins, masked_perplexity

LAYERS = list(range(7))


@pytest.fixture(scope="module")
def proteins(real_data):
    from plmsae.workflows.shared.inputs import read_protein_set
    from plmsae.workflows.shared.progress import Silent

    whole = read_protein_set(real_data / "swissprot_bsubtilis.tsv.gz", progress=Silent())
    return choose_proteins(whole.sequences, count=6, longest=300)


@pytest.fixture(scope="module")
def plm(real_plm):
    return load_plm(str(real_plm), device="cpu", head=True)


def assert_equal(ours, expected, bound=1e-5):
    """Within `bound` of the layer's largest value: the library's float32 differs from its own
    float64 by 5e-6."""
    for layer in LAYERS:
        difference = (ours[layer] - expected[layer]).abs().max()
        assert float(difference / expected[layer].abs().max()) < bound, f"layer {layer}"


def test_every_layer_equals_the_librarys_alone_and_in_a_batch(plm, real_plm, proteins):
    ours = dict(plm.activations(proteins, LAYERS))
    for index, expected in enumerate(library_states(real_plm, proteins)):
        assert_equal(ours[index], expected)
    for sequence in proteins[:2]:
        (expected,) = library_states(real_plm, [sequence])
        assert_equal(dict(plm.activations([sequence], LAYERS))[0], expected)


def test_masked_residues_change_every_layer_as_in_the_library(plm, real_plm, proteins):
    sequence = proteins[0]
    places = list(range(3, len(sequence), 7))
    (expected,) = library_states(real_plm, [sequence], {0: places})
    ids, lengths = plm.pack([sequence])
    ids[[1 + p for p in places]] = plm.vocabulary.mask_id
    with torch.inference_mode():
        layout = plm.layout(lengths)
        states = {0: plm.embed(ids, layout)}
        states.update(plm.run_blocks(states[0], layout, 0, 6))
    assert_equal({layer: x[1:-1] for layer, x in states.items()}, expected)


def test_a_window_of_a_long_protein_equals_the_librarys_run_of_that_window(plm, real_plm, proteins):
    long = "".join(proteins * 2)[:1300]
    ours = dict(plm.activations([long], LAYERS))[0]
    (first,) = library_states(real_plm, [long[:1022]])
    (last,) = library_states(real_plm, [long[-1022:]])
    assert_equal({k: x[:600] for k, x in ours.items()}, {k: x[:600] for k, x in first.items()})
    assert_equal({k: x[-400:] for k, x in ours.items()}, {k: x[-400:] for k, x in last.items()})


def test_rotary_frequencies_are_the_checkpoints_and_not_recomputed(plm, real_plm):
    from safetensors import safe_open

    with safe_open(real_plm / "model.safetensors", "pt") as handle:
        name = next(key for key in handle.keys() if key.endswith("inv_freq"))  # noqa: SIM118
        stored = handle.get_tensor(name)
    cos, _ = plm.layout([40]).rotary
    assert torch.equal(cos[1, 0, :8], torch.cos(stored))
    exact = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    assert not torch.equal(stored, exact)


def test_masked_perplexity_equals_the_librarys_logits(plm, real_plm, proteins):
    from transformers import EsmForMaskedLM

    model = EsmForMaskedLM.from_pretrained(real_plm).eval()
    rng = np.random.default_rng(0)
    losses = []
    for sequence in proteins:
        ids = plm.vocabulary.encode(sequence)
        standard = np.flatnonzero(np.isin(ids, plm.vocabulary.standard))
        where = rng.permutation(standard)[: max(1, round(0.15 * len(standard)))]
        masked = torch.from_numpy(ids)[None].clone()
        masked[0, where] = 32
        with torch.no_grad():
            logits = model(input_ids=masked, attention_mask=torch.ones_like(masked)).logits[0]
        loss = torch.nn.functional.cross_entropy(
            logits[where].double(), torch.from_numpy(ids[where]), reduction="none"
        )
        losses += loss.tolist()
    expected = float(np.exp(np.mean(losses)))
    found = masked_perplexity(plm, proteins).perplexity
    assert found == pytest.approx(expected, rel=1e-4)
    # With the letters in the wrong order it is 17 to 18, as bad as knowing the composition.
    assert found < 16
