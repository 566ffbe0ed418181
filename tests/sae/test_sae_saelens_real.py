"""The real sae-lens opens what we store, we open what it stores, and the activations agree.

It needs an environment of its own (``python -m venv E && E/bin/pip install sae-lens``): point
PLMSAE_SAELENS_PYTHON at its python.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from saelens_reader import WRITTEN, D, F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from plmsae.sae.base import Sae
from plmsae.sae.config import SaeConfig
from plmsae.sae.importing.dispatch import import_sae
from plmsae.sae.model import build_sae, load_sae

PYTHON = os.environ.get("PLMSAE_SAELENS_PYTHON", "")

pytestmark = pytest.mark.skipif(
    not PYTHON, reason="set PLMSAE_SAELENS_PYTHON to a python that has sae-lens"
)

OURS: dict[str, tuple[dict[str, Any], str]] = {
    "topk": ({"arch": "topk", "k": 3}, "TopKSAE"),
    "topk-layer-norm": ({"arch": "topk", "k": 3, "input_norm": "layer_norm"}, "TopKSAE"),
    "topk-constant": ({"arch": "topk", "k": 3, "input_norm": "constant_norm_rescale"}, "TopKSAE"),
    "topk-no-b_dec": ({"arch": "topk", "k": 3, "apply_b_dec_to_input": False}, "TopKSAE"),
    "batchtopk": ({"arch": "batchtopk", "k": 3}, "JumpReLUSAE"),
    "batchtopk-norm": ({"arch": "batchtopk", "k": 3, "input_norm": "layer_norm"}, "JumpReLUSAE"),
    "matryoshka": ({"arch": "matryoshka", "k": 3}, "JumpReLUSAE"),
    "hierarchical": ({"arch": "hierarchical", "k": 3}, "TopKSAE"),
    "relu": ({"arch": "relu", "k": None}, "StandardSAE"),
    "jumprelu": ({"arch": "jumprelu", "k": None}, "JumpReLUSAE"),
    "relu-transcoder": (
        {"arch": "relu", "k": None, "target": "layer", "d_out": 5},
        "Transcoder",
    ),
    "batchtopk-transcoder": (
        {"arch": "batchtopk", "k": 3, "target": "change"},
        "JumpReLUTranscoder",
    ),
}


def a_trained_looking_sae(fields: dict[str, Any]) -> Sae:
    """Random biases, decoder rows off unit norm, and a threshold, if there is one, that matters."""
    sae = build_sae(SaeConfig(d_in=D, d_sae=F, **fields), seed=2)
    generator = torch.Generator().manual_seed(3)
    stored = sae.stored_tensors()
    stored["b_enc"] = 0.3 * torch.randn(F, generator=generator)
    stored["b_dec"] = torch.randn(sae.config.d_target, generator=generator)
    stored["W_dec"] = stored["W_dec"] * (0.5 + torch.rand(F, 1, generator=generator))
    if "threshold" in stored:
        one = torch.full((F,), 0.4)
        stored["threshold"] = one if fields["k"] else one + torch.rand(F, generator=generator)
    sae.take_tensors(stored)
    return sae


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which both have written and sae-lens has read."""
    root = tmp_path_factory.mktemp("exchange")
    for name, (fields, _) in OURS.items():
        a_trained_looking_sae(fields).save(root / "ours" / name)
    x = 1 + 2 * torch.randn(64, D, generator=torch.Generator().manual_seed(4))
    save_file({"x": x}, root / "x.safetensors")
    script = Path(__file__).with_name("saelens_reader.py")
    done = subprocess.run(
        [PYTHON, str(script), str(root)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return root


def check(sae: Sae, x: torch.Tensor, found: dict[str, torch.Tensor]) -> None:
    acts = torch.from_numpy(sae.encode_csr(x).toarray())
    assert torch.equal(acts > 0, found["acts"] > 0)
    assert torch.allclose(acts, found["acts"], atol=1e-4)
    assert torch.allclose(sae.reconstruct(x), found["rebuilt"], atol=1e-4)
    assert 0 < (acts > 0).sum() < acts.numel()


@pytest.mark.parametrize("name", OURS)
def test_saelens_opens_our_folder_unchanged_and_agrees(name: str, exchanged: Path) -> None:
    out = exchanged / "found" / f"{name}.safetensors"
    with safe_open(out, framework="pt") as handle:
        assert handle.metadata()["class"] == OURS[name][1]
    x = load_file(exchanged / "x.safetensors")["x"]
    check(load_sae(exchanged / "ours" / name), x, load_file(out))


@pytest.mark.parametrize("name", WRITTEN)
def test_what_saelens_wrote_is_imported_and_agrees(name: str, exchanged: Path) -> None:
    sae, origin = import_sae(exchanged / "theirs" / name)
    assert origin["format"] == "saelens"
    x = load_file(exchanged / "x.safetensors")["x"]
    check(sae, x, load_file(exchanged / "found" / f"theirs-{name}.safetensors"))
