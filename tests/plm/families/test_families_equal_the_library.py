"""Every family against the library's own tokenizer and padded forward, on small random models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import (
    CASES,
    MASKED,
    SEQUENCES,
    Case,
    library_forward,
    library_model,
    library_tokenizer,
)

from plmsae.plm.model import Plm, load_plm
from plmsae.plm.untrained import untrained_plm
from plmsae.plm.windows import cut_windows


@pytest.fixture(params=list(CASES))
def case(request):
    return CASES[request.param]


@pytest.fixture(params=MASKED)
def masked_case(request):
    return CASES[request.param]


def assert_close(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    """At most 1e-5 of the layer's largest value apart."""
    assert found.shape == expected.shape, what
    apart = float((found - expected).abs().max() / expected.abs().max())
    assert apart <= 1e-5, f"{what}: {apart:.1e}"


def library_states(
    case: Case, folder: Path, sequences: list[str], *, together: bool
) -> list[list[torch.Tensor]]:
    """Hidden states of every layer at the residues of each sequence."""
    tokenizer, model = library_tokenizer(folder), library_model(folder)
    rows = [case.ids(tokenizer, sequence) for sequence in sequences]
    for row, sequence in zip(rows, sequences, strict=True):
        assert len(row) == case.first + len(sequence) + case.last
    outputs = (
        [library_forward(model, rows)]
        if together
        else [library_forward(model, [row]) for row in rows]
    )
    states = [[h[i] for h in o.hidden_states] for o in outputs for i in range(len(o[0]))]
    return [
        [h[case.first : case.first + len(sequence)] for h in layers]
        for layers, sequence in zip(states, sequences, strict=True)
    ]


@pytest.mark.parametrize("together", [True, False], ids=["in a batch", "alone"])
def test_every_layer_equals_the_librarys_hidden_states(tmp_path, case, together):
    folder = case.save(tmp_path / "plm")
    plm = load_plm(str(folder), device="cpu")
    layers = list(range(plm.n_layers + 1))
    assert len(layers) == 4
    ours = dict(plm.activations(SEQUENCES, layers))
    for i, expected in enumerate(library_states(case, folder, SEQUENCES, together=together)):
        for layer in layers:
            assert_close(ours[i][layer], expected[layer], f"sequence {i}, layer {layer}")


def test_a_long_protein_equals_the_library_on_each_window(tmp_path, case):
    folder = case.save(tmp_path / "plm")
    plm = load_plm(str(folder), device="cpu")
    assert plm.max_residues == case.longest
    protein = ("MKTAYIAKQRQISFVKSHFSRQ" * 60)[: case.longest + 41]
    ours = dict(plm.activations([protein], [3]))[0][3]
    assert len(ours) == len(protein)
    windows = cut_windows(0, len(protein), case.longest)
    assert len(windows) > 1
    pieces = [protein[w.start : w.end] for w in windows]
    for window, states in zip(
        windows, library_states(case, folder, pieces, together=False), strict=True
    ):
        kept = slice(window.keep_start - window.start, window.keep_end - window.start)
        found = ours[window.keep_start : window.keep_end]
        assert_close(found, states[3][kept], f"window at {window.start}")


def last_states(plm: Plm, ids: torch.Tensor, lengths: list[int]) -> dict[int, torch.Tensor]:
    layout = plm.layout(lengths)
    x_ND = plm.embed(ids, layout)
    return {0: x_ND} | dict(plm.run_blocks(x_ND, layout, 0, plm.n_layers))


def test_masked_residues_give_the_librarys_states_and_logits(tmp_path, masked_case):
    folder = masked_case.save(tmp_path / "plm")
    plm = load_plm(str(folder), device="cpu", head=True)
    ids, lengths = plm.pack(SEQUENCES)
    assert plm.vocabulary.mask_id == library_tokenizer(folder).mask_token_id
    ids[[2, 5, 14, 20, 39, 60]] = plm.vocabulary.mask_id
    states = last_states(plm, ids, lengths)
    out = library_forward(library_model(folder), [row.tolist() for row in ids.split(lengths)])
    for layer, found in states.items():
        expected = torch.cat(
            [h[:n] for h, n in zip(out.hidden_states[layer], lengths, strict=True)]
        )
        assert_close(found, expected, f"layer {layer}")
    logits = torch.cat([row[:n] for row, n in zip(out.logits, lengths, strict=True)])
    assert_close(plm.logits(states[3]), logits, "logits")


def test_blocks_above_the_layer_are_not_kept_and_change_nothing(tmp_path, case):
    folder = str(case.save(tmp_path / "plm"))
    full = load_plm(folder, device="cpu")
    expected = dict(full.activations(SEQUENCES, [0, 1, 2]))
    for highest in (0, 1, 2):
        cut = load_plm(folder, device="cpu", max_layer=highest)
        assert size(cut.model) < size(full.model)
        for i, states in cut.activations(SEQUENCES, [highest]):
            torch.testing.assert_close(states[highest], expected[i][highest])


def size(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_bf16_is_close_to_float32(tmp_path, case):
    folder = str(case.save(tmp_path / "plm"))
    full = dict(load_plm(folder, device="cpu").activations(SEQUENCES, [3]))
    half = dict(load_plm(folder, device="cpu", precision="bf16").activations(SEQUENCES, [3]))
    for i, states in full.items():
        assert half[i][3].isfinite().all()
        difference = (half[i][3] - states[3]).square().mean() / states[3].square().mean()
        assert difference.sqrt() < 0.1


def test_an_untrained_plm_starts_as_the_library_starts_a_deep_one(tmp_path, case):
    plm = load_plm(str(case.save(tmp_path / "plm")), device="cpu")
    deep, shallow = (untrained_plm(plm, layer=layer, seed=0) for layer in (3, 1))
    assert shallow.n_layers == plm.n_layers == 3
    assert size(shallow.model) < size(deep.model)
    found = dict(shallow.activations(SEQUENCES, [1]))
    assert all(states[1].isfinite().all() for states in found.values())
    again = dict(untrained_plm(plm, layer=1, seed=0).activations(SEQUENCES, [1]))
    assert all(torch.equal(found[i][1], again[i][1]) for i in found)


def test_the_scale_of_a_block_does_not_depend_on_how_many_are_made(tmp_path):
    esmc = load_plm(str(CASES["esmc"].save(tmp_path / "esmc")), device="cpu")
    one = untrained_plm(esmc, layer=1, seed=0).model.layers[0]
    assert one.scaling_factor == pytest.approx(esmc.model.layers[0].scaling_factor)
    gpt2 = load_plm(str(CASES["zymctrl"].save(tmp_path / "gpt2")), device="cpu")
    spreads = [
        untrained_plm(gpt2, layer=layer, seed=0).model.h[0].mlp.c_proj.weight.std().item()
        for layer in (1, 3)
    ]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.1)


def test_a_causal_plm_does_not_look_ahead(tmp_path):
    plm = load_plm(str(CASES["zymctrl"].save(tmp_path / "plm")), device="cpu")
    one, other = dict(plm.activations(["MKTAYIAKQR", "MKTAYWWWWW"], [3])).values()
    torch.testing.assert_close(one[3][:5], other[3][:5])
    assert not torch.allclose(one[3][5:], other[3][5:], atol=1e-2)
