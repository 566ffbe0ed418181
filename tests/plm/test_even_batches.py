"""On a CPU batches and segments are filled up to few sizes, which changes no number."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn import functional

from plmsae.plm import model, packed
from plmsae.plm.model import load_plm
from plmsae.plm.packed import PackedLayout, segment_attention

LENGTHS = [40, 41, 55, 64, 64, 65, 3]


@pytest.mark.parametrize("causal", [False, True], ids=["both ways", "causal"])
def test_segments_that_are_filled_up_attend_as_each_alone(
    causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(sum(LENGTHS), 4, 16, dtype=torch.bfloat16) for _ in range(3))
    layout = PackedLayout(tuple(LENGTHS), torch.bfloat16)
    layout = dataclasses.replace(layout, causal=causal)
    shapes: list[Any] = []
    original = functional.scaled_dot_product_attention

    def look(query: torch.Tensor, *given: Any, **named: Any) -> torch.Tensor:
        shapes.append(query.shape)
        return original(query, *given, **named)

    monkeypatch.setattr(packed.functional, "scaled_dot_product_attention", look)
    found = segment_attention(q, k, v, layout, 0.25)
    assert [(shape[0], shape[2]) for shape in shapes] == [(5, 64), (1, 96), (1, 32)]
    first = 0
    for length in LENGTHS:
        rows = slice(first, first + length)
        scores = torch.einsum("qhd,khd->hqk", q[rows].float(), k[rows].float()) * 0.25
        if causal:
            scores += torch.full((length, length), float("-inf")).triu(1)
        alone = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v[rows].float()).flatten(1)
        torch.testing.assert_close(found[rows].float(), alone, atol=0.02, rtol=0.02)
        first += length


@pytest.mark.parametrize(("precision", "near"), [("fp32", 1e-5), ("bf16", 0.02)])
def test_rows_that_fill_a_batch_up_change_no_residue(
    precision: Any, near: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = ["MKTAYIAKQRQISFVKSHFSRQ" * n for n in (3, 5, 7)]
    plm = load_plm("plmsae-mini", device="cpu", precision=precision)
    rows: list[int] = []
    embed = plm.family.__class__.embed

    def look(self: Any, body: Any, ids: torch.Tensor, layout: Any) -> torch.Tensor:
        rows.append(len(ids))
        return embed(self, body, ids, layout)

    monkeypatch.setattr(plm.family.__class__, "embed", look)
    found = {}
    for even in (256, 1):
        monkeypatch.setattr(model, "_EVEN", even)
        found[even] = dict(plm.activations(sequences, [3]))
    assert rows == [512, sum(map(len, sequences)) + 6]
    for index, sequence in enumerate(sequences):
        ours, bare = found[256][index][3], found[1][index][3]
        assert ours.shape == (len(sequence), plm.d_model)
        assert (ours - bare).abs().max() <= near * bare.abs().max()
