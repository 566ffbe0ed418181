"""What is stored, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from plmsae.core.errors import InputError, UnsafeArtifactError
from plmsae.sae.architecture import ARCHITECTURES
from plmsae.sae.architectures.batchtopk import BatchTopK
from plmsae.sae.config import SaeConfig
from plmsae.sae.model import build_sae, load_sae


def store(folder: Path, arch: str, **changes: Any) -> Path:
    sae = build_sae(SaeConfig(**({"arch": arch, "d_in": 6, "d_sae": 20, "k": 3} | changes)), seed=1)
    if isinstance(sae, BatchTopK):
        sae.threshold.fill_(0.5)
    sae.save(folder)
    return folder


@pytest.fixture(params=["topk", "batchtopk"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return store(tmp_path / "sae", request.param)


@pytest.fixture(params=[(arch, target) for arch in ARCHITECTURES for target in ("input", "layer")])
def stored_any(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    arch, target = request.param
    d_out = 5 if target == "layer" else None
    return store(tmp_path / "sae", arch, target=target, d_out=d_out)


def edit(folder: Path, **changes: Any) -> None:
    cfg = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(cfg | changes))


def edit_tensors(folder: Path, **changes: torch.Tensor | None) -> None:
    tensors = load_file(folder / "sae_weights.safetensors") | changes
    kept = {name: t for name, t in tensors.items() if t is not None}
    save_file(kept, folder / "sae_weights.safetensors")


def test_a_saved_sae_loads_as_what_it_was(stored_any: Path) -> None:
    stored = stored_any
    sae = load_sae(stored)
    again = load_sae(stored)
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    assert (
        sae.config.arch
        == json.loads((stored / "cfg.json").read_text())["metadata"]["plmsae"]["arch"]
    )
    assert sae.config.k == 3
    assert sae.config.d_target == (5 if sae.config.target == "layer" else 6)
    assert (sae.encode_csr(x) != again.encode_csr(x)).nnz == 0
    again.save(stored)
    for name, tensor in load_sae(stored).state_dict().items():
        assert torch.equal(tensor, sae.state_dict()[name]), name


def test_thresholds_come_back_to_the_last_bit(tmp_path: Path) -> None:
    sae = build_sae(SaeConfig(arch="jumprelu", d_in=6, d_sae=4096, k=None))
    thresholds = 5 * torch.rand(4096, generator=torch.Generator().manual_seed(0))
    thresholds[7] = 0
    sae.take_tensors(sae.stored_tensors() | {"threshold": thresholds})
    sae.save(tmp_path)
    again = load_sae(tmp_path)
    for one in (sae, again, copy.deepcopy(again)):
        assert torch.equal(one.stored_tensors()["threshold"], thresholds)
    # Not even a threshold of 0 is passed by a pre-activation of 0.
    assert again.encode(torch.zeros(1, 6)).values.numel() == 0
    again.fold_scaling(torch.zeros(6), 2.0)
    assert torch.allclose(again.stored_tensors()["threshold"], thresholds / 2)


def test_the_files_mean_what_saelens_says(stored_any: Path) -> None:
    stored = stored_any
    cfg = json.loads((stored / "cfg.json").read_text())
    w = load_file(stored / "sae_weights.safetensors")
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    seen = x - w["b_dec"] if cfg["apply_b_dec_to_input"] else x
    pre = seen @ w["W_enc"] + w["b_enc"]
    kind = {"transcoder": "standard"}.get(cfg["architecture"], cfg["architecture"])
    kind = kind.removesuffix("_transcoder")
    if kind == "standard":
        acts = torch.relu(pre)
    elif kind == "topk":
        best = pre.topk(cfg["k"], dim=1)
        acts = torch.zeros_like(pre).scatter(1, best.indices, torch.relu(best.values))
    else:
        assert kind == "jumprelu"
        acts = torch.relu(pre) * (pre > w["threshold"])
    sae = load_sae(stored)
    assert np.allclose(sae.encode_csr(x).toarray(), acts.numpy(), atol=1e-5)
    assert torch.allclose(sae.reconstruct(x), acts @ w["W_dec"] + w["b_dec"], atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gated"}, "architecture"),
        ({"architecture": "standard"}, "contradictory architecture"),
        ({"architecture": ["topk"]}, "contradictory architecture"),
        ({"d_in": -1}, "d_in"),
        ({"d_sae": "many"}, "d_sae"),
        ({"d_sae": 1 << 40}, "d_sae"),
        ({"d_in": 7}, "shape"),
        ({"normalize_activations": "covariance_whitening"}, "normalisation"),
        ({"rescale_acts_by_decoder_norm": True}, "rescale_acts_by_decoder_norm"),
        ({"apply_b_dec_to_input": "yes"}, "apply_b_dec_to_input"),
        ({"k": 21}, r"k \(21\) must not exceed"),
        ({"metadata": {"plmsae": {"arch": ["topk"]}}}, "architecture"),
    ],
)
def test_a_wrong_configuration_is_refused_in_one_line(
    stored: Path, changes: dict[str, Any], message: str
) -> None:
    edit(stored, **changes)
    with pytest.raises(InputError, match=message) as caught:
        load_sae(stored)
    assert "\n" not in str(caught.value)
    assert str(stored) in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, "\xff"])
def test_a_configuration_that_is_not_a_json_object_is_refused(stored: Path, text: str) -> None:
    (stored / "cfg.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"cfg\.json"):
        load_sae(stored)


def test_a_huge_configuration_is_not_read(stored: Path) -> None:
    (stored / "cfg.json").write_bytes(b" " * (1 << 21))
    with pytest.raises(UnsafeArtifactError, match="too large"):
        load_sae(stored)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b_dec": None}, "b_dec is missing"),
        ({"b_dec": torch.zeros(5)}, r"b_dec must have shape \(6,\)"),
        ({"b_dec": torch.zeros(6, dtype=torch.int32)}, "b_dec must be floating point"),
        ({"b_dec": torch.full((6,), torch.nan)}, "b_dec holds values that are not finite"),
    ],
)
def test_wrong_weights_are_refused(
    stored: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    edit_tensors(stored, **changes)
    with pytest.raises(InputError, match=message):
        load_sae(stored)


def test_a_batchtopk_file_with_different_thresholds_is_refused(tmp_path: Path) -> None:
    build_sae(SaeConfig(arch="batchtopk", d_in=6, d_sae=20, k=3)).save(tmp_path)
    edit_tensors(tmp_path, threshold=torch.linspace(0, 1, 20))
    with pytest.raises(InputError, match="must all be equal"):
        load_sae(tmp_path)


def test_truncated_weights_are_refused(stored: Path) -> None:
    weights = stored / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(InputError, match="not a safetensors file"):
        load_sae(stored)


def test_a_pickle_in_place_of_weights_is_never_opened(stored: Path) -> None:
    (stored / "sae_weights.safetensors").unlink()
    (stored / "ae.pt").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(UnsafeArtifactError, match=r"ae\.pt"):
        load_sae(stored)


def test_a_missing_folder_or_file_is_named(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such SAE folder"):
        load_sae(tmp_path / "nowhere")
    (stored / "cfg.json").unlink()
    with pytest.raises(InputError, match=r"cfg\.json is missing"):
        load_sae(stored)


@pytest.mark.parametrize(
    ("name", "arch"),
    [("standard", "relu"), ("jumprelu", "jumprelu"), ("topk", "topk"), ("transcoder", "relu")],
)
def test_a_file_without_our_metadata_is_what_its_architecture_says(
    name: str, arch: str, tmp_path: Path
) -> None:
    store(tmp_path, arch, **({"target": "layer", "d_out": 5} if name == "transcoder" else {}))
    edit(tmp_path, metadata={})
    sae = load_sae(tmp_path)
    assert sae.config.arch == arch
    assert sae.config.is_transcoder == (name == "transcoder")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": {"plmsae": {"arch": "topk", "target": "change"}}}, "target contradicts"),
        ({"metadata": {"plmsae": {"arch": "topk", "levels": "1"}}}, "list of whole numbers"),
        ({"metadata": {"plmsae": {"arch": "topk", "levels": [1]}}}, "has no levels"),
        ({"architecture": "topk_transcoder"}, "target contradicts"),
    ],
)
def test_contradictory_metadata_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    edit(store(tmp_path, "topk"), **changes)
    with pytest.raises(InputError, match=message):
        load_sae(tmp_path)


def test_half_precision_weights_are_read_as_float32(stored: Path) -> None:
    w = load_file(stored / "sae_weights.safetensors")
    save_file({n: t.bfloat16() for n, t in w.items()}, stored / "sae_weights.safetensors")
    assert load_sae(stored).W_enc_FD.dtype == torch.float32
