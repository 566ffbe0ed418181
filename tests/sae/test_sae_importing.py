"""Foreign SAEs compute here what they computed where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import foreign_saes as foreign
import pytest
import torch
from foreign_saes import D, F, K, raw_rows, row_norm, topk
from safetensors.torch import load_file
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.sae.base import Sae
from plmsae.sae.config import SaeConfig
from plmsae.sae.importing.dispatch import import_sae
from plmsae.sae.model import build_sae, load_sae


def check(sae: Sae, acts: Tensor, rebuilt: Tensor, folder: Path) -> None:
    """The SAE, and what is stored of it, has these activations and this reconstruction."""
    sae.save(folder / "stored-as-ours")
    for one in (sae, load_sae(folder / "stored-as-ours")):
        found = torch.from_numpy(one.encode_csr(raw_rows()).toarray())
        assert torch.allclose(found, acts, atol=1e-4)
        assert torch.allclose(one.reconstruct(raw_rows()), rebuilt, atol=1e-4)
    assert 0 < (acts > 0).sum() < acts.numel()


@pytest.mark.parametrize("scale", ["folded", "buffer", "none"])
def test_interplm(scale: str, tmp_path: Path) -> None:
    name = "ae_unnormalized.pt" if scale == "none" else "ae_normalized.pt"
    path = foreign.interplm(tmp_path, scale=scale, name=name)
    sae, origin = import_sae(tmp_path)
    w = torch.load(path, weights_only=True)
    acts = torch.relu((raw_rows() - w["bias"]) @ w["encoder.weight"].T + w["encoder.bias"])
    check(sae, acts, acts @ w["decoder.weight"].T + w["bias"], tmp_path)
    assert origin["format"] == "interplm"
    assert origin["config"]["layer"] == 4
    assert origin["scale_convention"] == {"none": "raw"}.get(scale, scale)
    largest = {"buffer": w.get("activation_rescale_factor"), "folded": torch.ones(F)}.get(scale)
    given = {} if largest is None else {"max_activation": pytest.approx(largest.tolist())}
    assert origin["per_latent"] == given


@pytest.mark.parametrize("scale", ["folded", "buffer"])
def test_a_latent_of_interplm_that_never_fired_is_dead(scale: str, tmp_path: Path) -> None:
    path = foreign.interplm(tmp_path, scale=scale)
    w = torch.load(path, weights_only=True)
    if scale == "folded":
        # As InterPLM makes it of a max of 0: x / 0, and what that makes infinite set to 0.
        w["encoder.weight"][[4, 7]] = 0
        w["encoder.weight"][4, 2] = torch.nan
        w["encoder.bias"][[4, 7]] = torch.tensor([torch.nan, 0])
        w["decoder.weight"][:, [4, 7]] = 0
    else:
        w["activation_rescale_factor"][[4, 7]] = 0
    torch.save(w, path)
    sae, origin = import_sae(path)
    largest = torch.tensor(origin["per_latent"]["max_activation"])
    assert (largest == 0).nonzero().squeeze(1).tolist() == [4, 7]
    w = {name: t.nan_to_num(0) for name, t in w.items()}
    acts = torch.relu((raw_rows() - w["bias"]) @ w["encoder.weight"].T + w["encoder.bias"])
    check(sae, acts, acts @ w["decoder.weight"].T + w["bias"], tmp_path)


def test_an_encoder_of_interplm_broken_where_a_latent_is_alive_is_refused(tmp_path: Path) -> None:
    path = foreign.interplm(tmp_path)
    w = torch.load(path, weights_only=True)
    w["encoder.bias"][4] = torch.nan
    torch.save(w, path)
    with pytest.raises(InputError, match="its encoder holds values that are not finite"):
        import_sae(path)


def test_interplm_scaled_to_sqrt_d(tmp_path: Path) -> None:
    path = foreign.interplm(tmp_path, scale="buffer")
    w = torch.load(path, weights_only=True)
    torch.save(w | {"normalize_to_sqrt_d": torch.tensor(True)}, path)
    x = raw_rows()
    norm = x.norm(dim=1, keepdim=True)
    acts = torch.relu((x / norm * D**0.5 - w["bias"]) @ w["encoder.weight"].T + w["encoder.bias"])
    rebuilt = (acts @ w["decoder.weight"].T + w["bias"]) * norm / D**0.5
    check(import_sae(path)[0], acts, rebuilt, tmp_path)


def test_an_interplm_folder_gives_the_layer_asked_for_and_the_normalised_file(
    tmp_path: Path,
) -> None:
    foreign.interplm(tmp_path, scale="none", name="ae_unnormalized.pt")
    foreign.interplm(tmp_path, scale="folded")
    assert import_sae(tmp_path)[1]["file"] == "ae_normalized.pt"
    (tmp_path / "layer_6").mkdir()
    with pytest.raises(InputError, match=r"layers 4, 6.*--layer"):
        import_sae(tmp_path)
    assert import_sae(tmp_path, layer=4)[1]["scale_convention"] == "folded"


def test_an_interplm_file_that_could_follow_either_convention_asks(tmp_path: Path) -> None:
    path = foreign.interplm(tmp_path, scale="folded")
    w = torch.load(path, weights_only=True)
    torch.save(w | {"activation_rescale_factor": torch.linspace(1, 2, F)}, path)
    with pytest.raises(InputError, match="--convention"):
        import_sae(path)
    assert import_sae(path, convention="folded")[1]["activations"] == "scaled to [0, 1]"
    assert import_sae(path, convention="buffer")[1]["activations"] == "raw"


def test_interprot(tmp_path: Path) -> None:
    w = load_file(foreign.interprot(tmp_path))
    with pytest.raises(InputError, match=r"--k \(64 in InterProt's paper, 128 in its code\)"):
        import_sae(tmp_path)
    sae, origin = import_sae(tmp_path, k=K)
    x, std, mean = row_norm(raw_rows())
    acts = topk((x - w["b_pre"]) @ w["w_enc"] + w["b_enc"])
    check(sae, acts, (acts @ w["w_dec"] + w["b_pre"]) * std + mean, tmp_path)
    assert (origin["format"], origin["layer"], origin["k"]) == ("interprot", 24, K)


def test_evillegasgarcia(tmp_path: Path) -> None:
    w = load_file(foreign.hubmixin(tmp_path))
    sae, origin = import_sae(tmp_path)
    acts = torch.relu((raw_rows() - w["b_dec"]) @ w["W_enc"] + w["b_enc"])
    check(sae, acts, acts @ w["W_dec"] + w["b_dec"], tmp_path)
    assert origin["format"] == "hubmixin"


def test_biohub_esm_c(tmp_path: Path) -> None:
    w = load_file(foreign.esmc(tmp_path))
    with pytest.raises(InputError, match=r"layers 7, 12.*--layer"):
        import_sae(tmp_path)
    sae, origin = import_sae(tmp_path, layer=12)
    x, std, mean = row_norm(raw_rows())
    acts = topk((x - w["b_dec"]) @ w["W_enc"])
    check(sae, acts, (acts @ w["W_dec"] + w["b_dec"]) * std + mean, tmp_path)
    assert (origin["format"], origin["layer"]) == ("esmc", 12)
    assert origin["per_latent"]["max_activation"] == pytest.approx(w["max"].tolist())
    assert origin["per_latent"]["idf"] == pytest.approx(w["idf"].tolist())


@pytest.mark.parametrize("prefix", ["", "ae."])
def test_reticular(prefix: str, tmp_path: Path) -> None:
    path = foreign.reticular(tmp_path)
    w = torch.load(path, weights_only=True)
    if prefix:
        torch.save({"state_dict": {prefix + n: t for n, t in w.items()}, "epoch": 3}, path)
    with pytest.raises(InputError, match="--norm-factor"):
        import_sae(tmp_path)
    sae, origin = import_sae(tmp_path, norm_factor=2.5)
    b_enc, b_dec, threshold = w["b_enc"] * 2.5, w["b_dec"] * 2.5, w["threshold"] * 2.5
    pre = torch.relu((raw_rows() - b_dec) @ w["W_enc"] + b_enc)
    acts = pre * (pre > threshold)
    check(sae, acts, acts @ w["W_dec"] + b_dec, tmp_path)
    assert (origin["format"], origin["group_sizes"]) == ("reticular", [4, 6, 10])
    assert (sae.config.arch, sae.config.levels) == ("matryoshka", (4, 10, 20))


@pytest.mark.parametrize(
    "cfg",
    [
        {"architecture": "standard"},
        {"activation_fn_str": "relu", "sae_lens_version": "3.2.0"},
        {"architecture": "standard", "apply_b_dec_to_input": False},
        {"architecture": "standard", "normalize_activations": "constant_norm_rescale"},
        {"architecture": "standard", "normalize_activations": "expected_average_only_in"},
        {"architecture": "topk", "k": K},
        {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}},
        {"architecture": "topk", "k": K, "normalize_activations": "layer_norm"},
        {"architecture": "topk", "k": K, "rescale_acts_by_decoder_norm": True},
        {"architecture": "jumprelu"},
        {"architecture": "jumprelu", "normalize_activations": "layer_norm"},
    ],
    ids=lambda cfg: "-".join(map(str, cfg.values())),
)
def test_saelens(cfg: dict[str, Any], tmp_path: Path) -> None:
    threshold = torch.linspace(-0.2, 2, F)
    extra = {"threshold": threshold} if cfg.get("architecture") == "jumprelu" else {}
    w = load_file(foreign.saelens(tmp_path, cfg, **extra))
    x, back_scale, back_shift = raw_rows(), torch.ones(1), torch.zeros(1)
    match cfg.get("normalize_activations"):
        case "layer_norm":
            x, back_scale, back_shift = row_norm(x)
        case "constant_norm_rescale":
            back_scale = x.norm(dim=1, keepdim=True) / D**0.5
            x = x / back_scale
        case "expected_average_only_in":
            with pytest.raises(InputError, match="--norm-factor"):
                import_sae(tmp_path)
            back_scale = torch.tensor(4.0)
            x = x / 4
    sae, origin = import_sae(tmp_path, norm_factor=4.0)
    centred = x - w["b_dec"] if cfg.get("apply_b_dec_to_input", True) else x
    pre = centred @ w["W_enc"] + w["b_enc"]
    norm = w["W_dec"].norm(dim=1) if cfg.get("rescale_acts_by_decoder_norm") else torch.ones(F)
    if "k" in json.dumps(cfg) and "topk" in json.dumps(cfg):
        acts = topk(pre * norm)
    elif extra:
        acts = torch.relu(pre) * (pre > threshold)
    else:
        acts = torch.relu(pre)
    rebuilt = (acts / norm) @ w["W_dec"] + w["b_dec"]
    check(sae, acts, rebuilt * back_scale + back_shift, tmp_path)
    assert origin["format"] == "saelens"


def test_sparsify(tmp_path: Path) -> None:
    w = load_file(foreign.sparsify(tmp_path))
    sae, origin = import_sae(tmp_path)
    acts = topk((raw_rows() - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"])
    check(sae, acts, acts @ w["W_dec"] + w["b_dec"], tmp_path)
    assert (origin["format"], origin["k"]) == ("sparsify", K)


def test_a_sparsify_transcoder_takes_its_input_as_it_is(tmp_path: Path) -> None:
    w = load_file(foreign.sparsify(tmp_path, transcode=True))
    sae, _ = import_sae(tmp_path)
    acts = topk(raw_rows() @ w["encoder.weight"].T + w["encoder.bias"])
    check(sae, acts, acts @ w["W_dec"] + w["b_dec"], tmp_path)
    assert sae.config.is_transcoder


def test_the_origin_is_json_and_names_the_file_and_its_hash(tmp_path: Path) -> None:
    foreign.sparsify(tmp_path)
    origin = json.loads(json.dumps(import_sae(tmp_path)[1]))
    assert origin["file"] == "sae.safetensors"
    assert len(origin["sha256"]) == 64
    assert str(tmp_path) not in json.dumps(origin)


def test_one_of_ours_comes_back_as_what_it_was(tmp_path: Path) -> None:
    config = SaeConfig(arch="batchtopk", d_in=D, d_sae=F, k=K)
    build_sae(config).save(tmp_path)
    sae, origin = import_sae(tmp_path)
    assert sae.config == config
    assert (origin["format"], origin["arch"]) == ("plmsae", "batchtopk")


def test_a_hierarchical_sae_of_ours_is_taken_at_another_k(tmp_path: Path) -> None:
    build_sae(SaeConfig(arch="hierarchical", d_in=D, d_sae=F, k=4)).save(tmp_path)
    whole, origin = import_sae(tmp_path)
    assert (origin["arch"], origin["k"]) == ("hierarchical", 4)
    smaller, origin = import_sae(tmp_path, k=2)
    assert (origin["arch"], origin["k"]) == ("topk", 2)
    best = whole.encode(foreign.raw_rows()).values.view(-1, 4).topk(2, dim=1).values
    found = smaller.encode(foreign.raw_rows()).values.view(-1, 2)
    assert torch.allclose(found.sort(descending=True).values, best)
    with pytest.raises(InputError, match="k must be between 1 and 4"):
        import_sae(tmp_path, k=5)


def test_another_k_than_one_of_ours_was_trained_with_is_refused(tmp_path: Path) -> None:
    build_sae(SaeConfig(arch="batchtopk", d_in=D, d_sae=F, k=K)).save(tmp_path)
    with pytest.raises(InputError, match=f"says k = {K}, not 5; only a hierarchical SAE"):
        import_sae(tmp_path, k=5)


def test_a_configuration_dumped_by_python_code_is_read_as_plain_data(tmp_path: Path) -> None:
    path = foreign.interplm(tmp_path)
    (path.parent / "config.yaml").write_text(
        "!!python/object:interplm.train.configs.TrainingRunConfig\n"
        "trainer_cfg: !!python/object:interplm.train.trainers.relu.ReLUTrainerConfig\n"
        "  lr: 0.0001\n"
        "folder: !!python/object/apply:pathlib.PosixPath [a, b]\n"
        "dtype: !!python/name:torch.float32 ''\n"
        "betas: !!python/tuple [0.9, 0.999]\n"
    )
    assert import_sae(path)[1]["config"] == {
        "trainer_cfg": {"lr": 0.0001},
        "folder": ["a", "b"],
        "dtype": "",
        "betas": [0.9, 0.999],
    }


def test_a_k_that_contradicts_the_file_is_refused(tmp_path: Path) -> None:
    foreign.sparsify(tmp_path)
    with pytest.raises(InputError, match=f"the file says k = {K}, not 5"):
        import_sae(tmp_path, k=5)
