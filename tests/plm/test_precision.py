"""The precision of a PLM's matrix products, against the library's own forward pass in fp32."""

from __future__ import annotations

import pytest
import torch

from plmsae.plm.catalogue import find_plm
from plmsae.plm.device import choose_dtypes
from plmsae.plm.model import load_plm

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ", "MSDNEWWGHCCACDEFGHIK"]


def library_states() -> list[list[torch.Tensor]]:
    """The library's hidden states of plmsae-mini, special tokens dropped: by sequence and layer."""
    from transformers import AutoTokenizer, EsmModel

    source = find_plm("plmsae-mini").source
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = EsmModel.from_pretrained(source, add_pooling_layer=False).eval().float()
    with torch.inference_mode():
        return [
            [
                state[0, 1:-1]
                for state in model(
                    **tokenizer(sequence, return_tensors="pt"), output_hidden_states=True
                ).hidden_states
            ]
            for sequence in SEQUENCES
        ]


@pytest.mark.parametrize(("precision", "at_most"), [("fp32", 1e-5), ("bf16", 0.02)])
def test_every_layer_is_as_near_the_library_as_the_precision_allows(precision, at_most):
    plm = load_plm("plmsae-mini", device="cpu", precision=precision)
    expected = library_states()
    layers = range(plm.n_layers + 1)
    for index, found in plm.activations(SEQUENCES, layers):
        for layer in layers:
            error = (found[layer] - expected[index][layer]).norm() / expected[index][layer].norm()
            assert error < at_most, (precision, layer)


def test_on_a_cpu_only_the_products_are_rounded():
    cpu = torch.device("cpu")
    assert choose_dtypes("bf16", cpu) == (torch.float32, torch.bfloat16)
    assert choose_dtypes("fp32", cpu) == (torch.float32, torch.float32)
    plm = load_plm("plmsae-mini", device="cpu", precision="bf16")
    assert {parameter.dtype for parameter in plm.model.parameters()} == {torch.float32}
    assert plm.dtype == torch.bfloat16
