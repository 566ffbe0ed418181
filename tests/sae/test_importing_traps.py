"""Weights without their configuration, hook points, and what failed downloads leave."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import foreign_saes as foreign
import pytest
import torch
from foreign_saes import F, K

from plmsae.bundle.safe_files import list_data_files
from plmsae.core.errors import InputError, UnsafeArtifactError
from plmsae.sae.formats import read_sae
from plmsae.sae.importing.dispatch import import_sae
from plmsae.sae.importing.hooks import layer_of_hook
from plmsae.sae.importing.published import find_published, published

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 402653\n"


def refused(path: Path, match: str, **options: Any) -> None:
    with pytest.raises(InputError, match=match) as caught:
        import_sae(path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("as_file", [True, False])
def test_saelens_weights_without_their_configuration_are_not_guessed(
    tmp_path: Path, as_file: bool
) -> None:
    path = foreign.saelens(tmp_path, {"architecture": "topk", "k": K})
    (tmp_path / "cfg.json").unlink()
    source = path if as_file else tmp_path
    refused(source, r"cfg.json is missing.*--arch topk --k K, --arch relu")
    refused(source, r"--arch topk --k 3, --arch relu", k=K)
    sae, origin = import_sae(source, arch="topk", k=K)
    assert (sae.config.arch, sae.config.k, origin["format"]) == ("topk", K, "saelens")
    active = (sae.encode(foreign.raw_rows()).to_csr(F).toarray() > 0).sum(axis=1)
    assert active.max() <= K
    relu, _ = import_sae(source, arch="relu")
    assert relu.config.arch == "relu"
    refused(source, "does not say k", arch="topk")
    refused(source, "SAELens stores no such architecture", arch="matryoshka")
    refused(source, "threshold is missing", arch="jumprelu")


@pytest.mark.parametrize("name", ["model.safetensors", "anything.safetensors"])
def test_four_tensors_alone_are_not_guessed_either(tmp_path: Path, name: str) -> None:
    path = foreign.store(tmp_path / name, foreign.four_tensors())
    refused(path, "config.json is missing, so nothing says which activation function")
    refused(path, "holds only ReLU SAEs", arch="topk", k=K)
    assert import_sae(path, arch="relu")[0].config.arch == "relu"


def test_sparsify_without_its_configuration_is_not_guessed(tmp_path: Path) -> None:
    path = foreign.sparsify(tmp_path)
    (tmp_path / "cfg.json").unlink()
    refused(path, "cfg.json is missing", k=K)
    refused(path, "stores only TopK", arch="relu")
    assert import_sae(path, arch="topk", k=K)[0].config.k == K


@pytest.mark.parametrize(
    ("make", "options", "match"),
    [
        (foreign.hubmixin, {"k": K}, "a relu SAE keeps no fixed number"),
        (foreign.hubmixin, {"arch": "topk"}, "says relu, not topk"),
        (foreign.interplm, {"k": K}, "a relu SAE keeps no fixed number"),
        (foreign.sparsify, {"arch": "relu"}, "says topk, not relu"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(
    tmp_path: Path, make: Any, options: dict[str, Any], match: str
) -> None:
    refused(make(tmp_path), match, **options)


@pytest.mark.parametrize("cfg", [{"k": K}, {"cfg": {"top_k": K}}, {"jumprelu": True}])
def test_a_hub_mixin_that_says_it_is_no_relu_is_refused(tmp_path: Path, cfg: Any) -> None:
    foreign.store(tmp_path / "model.safetensors", foreign.four_tensors(), {"config.json": cfg})
    refused(tmp_path, "which a ReLU SAE has not")


@pytest.mark.parametrize("kwargs", [{"signed": True}, {"activation_fn_kwargs": {"signed": True}}])
def test_a_topk_by_absolute_value_is_refused(tmp_path: Path, kwargs: dict[str, Any]) -> None:
    foreign.saelens(tmp_path / "a", {"architecture": "topk", "k": K, **kwargs})
    refused(tmp_path / "a", "by absolute value")
    if "signed" in kwargs:
        foreign.sparsify(tmp_path / "b", **kwargs)
        refused(tmp_path / "b", "by absolute value")


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("blocks.3.hook_resid_pre", 3),
        ("blocks.3.hook_resid_post", 4),
        ("blocks.0.hook_resid_pre", 0),
        ("hook_embed", 0),
        ("esm.encoder.layer.3.output", 4),
        ("esm.encoder.layer.3", 4),
        ("transformer.blocks.11", 12),
        ("layers.5", 6),
        ("esm.embeddings", 0),
        ("somewhere", None),
        ("layer_4", None),
    ],
)
def test_a_hook_point_is_a_layer_by_our_numbers(name: str, layer: int | None) -> None:
    assert layer_of_hook(name, Path("cfg.json")) == layer


@pytest.mark.parametrize(
    "name",
    [
        "blocks.3.attn.hook_z",
        "blocks.3.hook_mlp_out",
        "blocks.3.hook_attn_out",
        "blocks.3.hook_resid_mid",
        "blocks.3.ln2.hook_normalized",
        "layers.5.mlp",
        "esm.encoder.layer.3.attention.output",
        "esm.encoder.layer.3.intermediate",
        "hook_pos_embed",
    ],
)
def test_a_hook_point_off_the_residual_stream_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="not trained on the residual stream"):
        layer_of_hook(name, Path("cfg.json"))
    topk = {"architecture": "topk", "k": K}
    foreign.saelens(tmp_path / "old", topk | {"hook_name": name, "hook_layer": 3})
    refused(tmp_path / "old", "not trained on the residual stream")
    foreign.saelens(tmp_path / "new", topk | {"metadata": {"hook_name": name}})
    refused(tmp_path / "new", "not trained on the residual stream")


@pytest.mark.parametrize(
    ("cfg", "facts"),
    [
        ({"hook_name": "blocks.3.hook_resid_post", "hook_layer": 3}, {"layer": 4}),
        ({"hook_point": "blocks.3.hook_resid_pre", "hook_point_layer": 3}, {"layer": 3}),
        ({"metadata": {"hook_name": "blocks.3.hook_resid_post"}}, {"layer": 4}),
        ({"hook_layer": 3}, {"hook_layer": 3}),
        ({}, {}),
    ],
)
def test_saelens_hook_points_become_facts(
    tmp_path: Path, cfg: dict[str, Any], facts: dict[str, int]
) -> None:
    foreign.saelens(tmp_path, {"architecture": "topk", "k": K} | cfg)
    _, origin = import_sae(tmp_path)
    assert {name: origin[name] for name in ("layer", "hook_layer") if name in origin} == facts


def test_saelens_hooks_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    topk = {"architecture": "topk", "k": K}
    cfg = topk | {"hook_name": "blocks.3.hook_resid_post", "hook_layer": 5}
    foreign.saelens(tmp_path / "a", cfg)
    refused(tmp_path / "a", "hook_layer says 5")
    foreign.saelens(tmp_path / "b", topk | {"hook_name": "blocks.3.hook_z", "hook_head_index": 2})
    refused(tmp_path / "b", "one attention head")


def test_sparsify_folders_are_named_by_module(tmp_path: Path) -> None:
    foreign.sparsify(tmp_path / "layers.5")
    assert import_sae(tmp_path / "layers.5")[1]["layer"] == 6
    foreign.sparsify(tmp_path / "layers.5.mlp")
    refused(tmp_path / "layers.5.mlp", "not trained on the residual stream")


PAGE = b"<!doctype html><html><body>Please log in</body></html>"


@pytest.mark.parametrize("name", ["sae_weights.safetensors", "ae.pt", "x.ckpt"])
@pytest.mark.parametrize(
    ("content", "what", "to_do"),
    [
        (LFS, "a Git LFS pointer", "git lfs pull"),
        (PAGE, "a web page", "download the file"),
        (b'{"error": "Repository not found"}', "a JSON error message", "download the file"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML", "download"),
    ],
)
def test_what_is_no_weights_file_is_named_with_what_to_do(
    tmp_path: Path, name: str, content: bytes, what: str, to_do: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnsafeArtifactError) as caught:
        import_sae(path)
    assert what in str(caught.value)
    assert to_do in str(caught.value)


def test_a_pointer_in_a_bundle_or_an_sae_folder_is_named_too(tmp_path: Path) -> None:
    for name in ("x.safetensors", "y.parquet", "z.json"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(LFS)
        with pytest.raises(UnsafeArtifactError, match="git lfs pull"):
            list_data_files(folder)
    sae, _ = import_sae(foreign.sparsify(tmp_path / "s"))
    sae.save(tmp_path / "sae")
    (tmp_path / "sae" / "sae_weights.safetensors").write_bytes(LFS)
    with pytest.raises(InputError, match="git lfs pull"):
        read_sae(tmp_path / "sae")


def test_the_table_of_published_saes_is_complete_and_of_known_words() -> None:
    from plmsae.plm.catalogue import find_plm
    from plmsae.sae.config import INPUT_NORMS
    from plmsae.sae.importing.dispatch import FORMATS

    for known in published():
        assert find_plm(known.plm)
        assert known.format in FORMATS
        assert known.input_norm in INPUT_NORMS
        assert set(known.named.values()) <= set(known.layers)
        assert known.source.startswith("https://")


@pytest.mark.parametrize(
    "place",
    [
        "sae_esm2_6_l3",
        "SAE_esm2_6_l3/model.safetensors",
        "models--evillegasgarcia--sae_esm2_6_l3/snapshots/abc",
        "evillegasgarcia_sae_esm2_6_l3",
    ],
)
def test_a_copy_of_a_published_sae_is_known_and_its_numbers_are_translated(place: str) -> None:
    known = find_published(Path("/home/me") / place)
    assert known is not None
    known.check_layer(4)
    with pytest.raises(InputError, match=r"its 3 \(esm.encoder.layer.3.output\) is layer 4 here"):
        known.check_layer(3)
    with pytest.raises(InputError, match="holds no SAE of this layer"):
        known.check_layer(6)
    assert find_published(Path("/home/me/mine"), "evillegasgarcia/sae_esm2_6_l3") is known
    assert find_published(Path("/home/me/mine")) is None


def test_a_copy_under_another_name_gets_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from plmsae.plm.facts import PlmFacts
    from plmsae.workflows.shared.requests import ImportRequest
    from plmsae.workflows.training.import_checks import check_fit

    d, f = 320, 8
    tensors = {
        "W_enc": torch.ones(d, f),
        "W_dec": torch.ones(f, d),
        "b_enc": torch.ones(f),
        "b_dec": torch.ones(d),
    }
    foreign.store(tmp_path / "model.safetensors", tensors, {"config.json": {}})
    sae, origin = import_sae(tmp_path)
    facts = PlmFacts(id="esm2-8m", revision="", n_layers=6, d_model=d)

    def check(layer: int) -> list[str]:
        caplog.clear()
        request = ImportRequest(source="sae", folder=tmp_path, plm="esm2-8m", layer=layer)
        with caplog.at_level(logging.WARNING):
            check_fit(sae, origin, request, facts)
        return [record.getMessage() for record in caplog.records]

    (warning,) = check(3)
    assert "evillegasgarcia/sae_esm2_6_l3" in warning
    assert "layer 3 is layer 4 here" in warning
    assert check(4) == []
    origin["hook"], origin["layer"] = "esm.encoder.layer.5", 6
    assert "after the final norm" in check(6)[0]
    with pytest.raises(InputError, match=r"of layer 6 \(esm.encoder.layer.5\).*give --layer 6"):
        check(5)
