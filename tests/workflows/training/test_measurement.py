"""What is measured on held-out proteins: all SAEs together as each alone, with fewer PLM passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny import save_tiny

from plmsae.plm.model import Plm, load_plm
from plmsae.sae.config import SaeConfig
from plmsae.sae.evaluate import evaluate_sae
from plmsae.sae.model import build_sae
from plmsae.workflows.training.activations import activation_stream
from plmsae.workflows.training.measurement import Measured, reconstructions
from plmsae.workflows.training.transcoding import as_batch

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "ACDEFGHIKLMNPQRSTVWY" * 2, "MKV" * 9]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = save_tiny(tmp_path_factory.mktemp("measured") / "tiny")
    return path


@pytest.fixture
def plm(folder: Path) -> Plm:
    return load_plm(str(folder), device="cpu", head=True)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of every block of the PLM that was run on a batch, in order."""
    ran: list[int] = []
    original = Plm.run_blocks

    def run_blocks(self: Plm, *args: Any) -> Iterator[Any]:
        for number, state in original(self, *args):
            ran.append(number)
            yield number, state

    monkeypatch.setattr(Plm, "run_blocks", run_blocks)
    return ran


def saes() -> list[Measured]:
    return [
        Measured(build_sae(SaeConfig(d_in=16, d_sae=32, k=k), seed=k).eval(), layer)
        for layer in (1, 2, 3)
        for k in (4, 8)
    ]


def test_saes_of_several_layers_share_the_passes_of_the_plm(plm: Plm, blocks: list[int]) -> None:
    measured = saes()
    alone = [reconstructions(plm, [one], "residue", SEQUENCES, 0)[0] for one in measured]
    one_by_one = len(blocks)
    blocks.clear()
    passes: list[tuple[int, int]] = []
    together = reconstructions(
        plm, measured, "residue", SEQUENCES, 0, lambda *done: passes.append(done)
    )
    assert passes == [(1, 3), (2, 3), (3, 3)]
    for ours, expected in zip(together, alone, strict=True):
        assert ours == expected
    # Up to layer 3 once for the activations, and once with and once without masks for the
    # predictions; above a layer, once for its zeros and once for each of its SAEs.
    spliced = 2 * (1 + 2) * (2 + 1 + 0)
    assert len(blocks) == 3 + 2 * 3 + spliced
    assert len(blocks) < one_by_one / 2


def test_the_reconstruction_is_that_of_each_sae_on_its_own_layer(
    folder: Path, blocks: list[int]
) -> None:
    transcoder = build_sae(SaeConfig(d_in=16, d_sae=32, k=4, target="layer"), seed=3).eval()
    measured = [*saes(), Measured(transcoder, 1, 2)]
    headless = load_plm(str(folder), device="cpu")
    found = reconstructions(headless, measured, "residue", SEQUENCES, 5)
    assert blocks == [1, 2, 3]
    for one, metrics in zip(measured, found, strict=True):
        layers = [one.layer] if one.target is None else [one.layer, one.target]
        stream = activation_stream(headless, layers, "residue", SEQUENCES, 5)
        expected = evaluate_sae(one.sae, (as_batch(x, one.layer, one.target) for x in stream))
        del expected["dead_share"]
        assert metrics == expected
