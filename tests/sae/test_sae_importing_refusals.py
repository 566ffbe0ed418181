"""What is wrong with a foreign file, or dangerous in it, is said in one line and not opened."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign_saes as foreign
import pytest
import torch
from foreign_saes import D, F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from plmsae.core.errors import InputError, UnsafeArtifactError
from plmsae.sae.importing.dispatch import import_sae
from plmsae.sae.importing.opening import inside, read_sidecar


def refused(path: Path, error: type[InputError], match: str, **options: Any) -> None:
    with pytest.raises(error, match=match) as caught:
        import_sae(path, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def edit(path: Path, **changes: torch.Tensor | None) -> Path:
    tensors = load_file(path) | changes
    save_file({n: t for n, t in tensors.items() if t is not None}, path)
    return path


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"b_dec": None}, "tensors are of no SAE layout|b_dec is missing"),
        ({"b_dec": torch.zeros(D + 1)}, rf"b_dec must have shape \({D},\)"),
        ({"W_dec": torch.zeros(D, F)}, "W_dec must have shape"),
        ({"W_dec": torch.zeros(F)}, "W_dec must have 2 dimensions"),
        ({"b_dec": torch.full((D,), torch.nan)}, "b_dec holds values that are not finite"),
        ({"W_dec": torch.full((F, D), torch.inf)}, "W_dec holds values that are not finite"),
        ({"b_dec": torch.zeros(D, dtype=torch.int64)}, "b_dec must be floating point"),
        ({"encoder.weight": torch.zeros(0, D)}, "encoder.weight must have 2 dimensions"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    changes: dict[str, torch.Tensor | None], match: str, tmp_path: Path
) -> None:
    refused(edit(foreign.sparsify(tmp_path), **changes), InputError, match)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"activation": "groupmax"}, "activation function"),
        ({"skip_connection": True}, "skip connection"),
        ({"num_latents": F + 1}, "num_latents"),
        ({"d_in": "six"}, "d_in must be a positive whole number"),
        ({"k": 2.5}, "k must be a whole number"),
        ({"k": F + 1}, "must not exceed d_sae"),
    ],
)
def test_a_sparsify_configuration_that_does_not_fit_is_refused(
    changes: dict[str, Any], match: str, tmp_path: Path
) -> None:
    foreign.sparsify(tmp_path, **changes)
    refused(tmp_path, InputError, match)


@pytest.mark.parametrize(
    ("cfg", "match"),
    [
        ({"architecture": "gated"}, "this architecture is not read"),
        ({"architecture": ["topk"]}, "this architecture is not read"),
        ({"architecture": "topk"}, "--k"),
        ({"architecture": "topk", "k": 3, "d_in": 7}, "d_in is not that of the weights"),
        ({"architecture": "jumprelu"}, "threshold is missing"),
        ({"normalize_activations": "covariance_whitening"}, "input normalisation is not read"),
        ({"reshape_activations": "hook_z"}, "attention heads"),
        ({"activation_fn_str": "tanh-relu"}, "unknown activation function"),
    ],
)
def test_a_saelens_configuration_that_does_not_fit_is_refused(
    cfg: dict[str, Any], match: str, tmp_path: Path
) -> None:
    foreign.saelens(tmp_path, cfg)
    refused(tmp_path, InputError, match)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"threshold": torch.tensor(-1.0)}, "threshold was never set"),
        ({"group_sizes": torch.tensor([1, 2])}, "add up to d_sae"),
        ({"threshold": torch.tensor(torch.nan)}, "threshold is not finite"),
        ({"k": torch.tensor([1, 2])}, "k must be one number"),
    ],
)
def test_a_reticular_checkpoint_that_does_not_fit_is_refused(
    changes: dict[str, torch.Tensor], match: str, tmp_path: Path
) -> None:
    refused(foreign.reticular(tmp_path, **changes), InputError, match, norm_factor=1.0)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
_KEYS = (
    *("architecture", "k", "d_in", "d_sae", "d_out", "normalize_activations", "activation_fn"),
    *("activation_fn_kwargs", "apply_b_dec_to_input", "reshape_activations", "metadata"),
    *("num_latents", "activation", "transcode", "skip_connection"),
    "rescale_acts_by_decoder_norm",
)


@pytest.mark.parametrize("make", [foreign.sparsify, lambda folder: foreign.saelens(folder, {})])
@given(changes=st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=4))
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_configuration_is_read_or_refused_in_one_line(
    make: Callable[[Path], Path], changes: dict[str, Any], tmp_path: Path
) -> None:
    path = make(tmp_path).parent / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with contextlib.suppress(InputError):
        import_sae(tmp_path)


def test_missing_and_unknown_files_are_named(tmp_path: Path) -> None:
    refused(tmp_path / "none.pt", InputError, "no such file")
    refused(tmp_path, InputError, "no weights file")
    (tmp_path / "sae.onnx").write_bytes(b"x")
    refused(tmp_path / "sae.onnx", InputError, "not a weights file")
    save_file({"x": torch.zeros(2)}, tmp_path / "a.safetensors")
    refused(tmp_path, InputError, "no SAE layout known here")
    refused(tmp_path, InputError, "not those of sparsify", format="sparsify")
    refused(tmp_path, InputError, "unknown SAE format", format="onnx")
    save_file({"x": torch.zeros(2)}, tmp_path / "b.safetensors")
    refused(tmp_path, InputError, "several weights files")
    refused(foreign.sparsify(tmp_path), InputError, "norm factor", norm_factor=-1.0)


def test_a_missing_layer_is_named(tmp_path: Path) -> None:
    foreign.esmc(tmp_path / "esmc")
    foreign.interplm(tmp_path / "interplm")
    for name in ("esmc", "interplm"):
        refused(tmp_path / name, InputError, "no layer 99", layer=99)


class Bomb:
    """A pickle that would leave a mark if it ran."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


class Allocation:
    """A pickle that would take a terabyte by a call PyTorch's safe loader allows."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[int]]:
        return bytearray, (1 << 40,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(zipped: bool, tmp_path: Path) -> None:
    path, mark = tmp_path / "ae.pt", tmp_path / "mark"
    torch.save({"bias": Bomb(mark)}, path, _use_new_zipfile_serialization=zipped)
    refused(path, UnsafeArtifactError, "mkdir" if zipped else "safely")
    path.write_bytes(pickle.dumps(Bomb(mark)))
    refused(path, UnsafeArtifactError, "safely")
    assert not mark.exists()


def test_a_pickle_that_would_fill_memory_is_refused(tmp_path: Path) -> None:
    torch.save({"bias": Allocation()}, tmp_path / "ae.pt")
    refused(tmp_path / "ae.pt", UnsafeArtifactError, "bytearray")


def test_a_tensor_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = foreign.interplm(tmp_path)
    w = torch.load(path, weights_only=True)
    w["encoder.weight"] = torch.zeros(1).expand(1 << 22, 1 << 22)
    torch.save(w, path)
    refused(path, UnsafeArtifactError, "encoder.weight is not what it claims")
    w["encoder.weight"] = torch.empty(F, D, device="meta")
    torch.save(w, path)
    refused(path, UnsafeArtifactError, "meta|safe loader|is not what it claims")


def test_a_zip_bomb_is_refused_without_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "ae.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(1 << 26))
    assert path.stat().st_size < 1 << 20
    refused(path, UnsafeArtifactError, "compressed")


@pytest.mark.parametrize("keep", [0, 1, 20, -1, -30])
@pytest.mark.parametrize("kind", ["interplm", "sparsify"])
def test_truncated_files_are_refused(kind: str, keep: int, tmp_path: Path) -> None:
    path = foreign.interplm(tmp_path) if kind == "interplm" else foreign.sparsify(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    refused(path, InputError, path.name)


def test_damage_anywhere_in_a_torch_file_is_an_input_error_or_does_no_harm(tmp_path: Path) -> None:
    path = foreign.interplm(tmp_path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 41):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(InputError):
            import_sae(path)


def test_a_safetensors_header_beyond_reason_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sae.safetensors"
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    refused(path, UnsafeArtifactError, "header is too large")


def test_a_torch_file_without_a_dictionary_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "ae.pt")
    refused(tmp_path / "ae.pt", InputError, "dictionary of tensors")
    buffer = io.BytesIO()
    torch.save({"state_dict": {"x": 1}}, buffer)
    (tmp_path / "ae.pt").write_bytes(buffer.getvalue())
    refused(tmp_path / "ae.pt", InputError, "no SAE layout")


def test_a_link_out_of_the_folder_is_refused_and_one_within_a_hub_cache_followed(
    tmp_path: Path,
) -> None:
    outside = foreign.sparsify(tmp_path / "elsewhere")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "sae.safetensors").symlink_to(outside)
    refused(folder, UnsafeArtifactError, "leads out of the folder")
    with pytest.raises(UnsafeArtifactError, match="leads out"):
        inside(folder, "../elsewhere/cfg.json")

    snapshot = tmp_path / "hub" / "snapshots" / "abc"
    blobs = tmp_path / "hub" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for name in ("sae.safetensors", "cfg.json"):
        (outside.parent / name).rename(blobs / name.replace(".", ""))
        (snapshot / name).symlink_to(Path("../../blobs") / name.replace(".", ""))
    assert import_sae(snapshot)[1]["format"] == "sparsify"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        # Were it run, there would be no test left to fail.
        ("a: !!python/object/apply:os.abort []", "a call of Python code"),
        ("a: !!python/object/new:os.abort []", "a call of Python code"),
        ("a: !unknown [b]", "not plain YAML"),
        ("a: &a [x, x]\nb: [*a, *a]", "aliases"),
        ("- 1\n- 2", "not a mapping"),
        ("a: [", "not plain YAML"),
        ("[" * 50_000, "nested this deeply"),
        ("a: " + "x" * 70_000, "too large"),
    ],
)
def test_yaml_beside_a_checkpoint_is_read_as_data_only(
    text: str, match: str, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=match) as caught:
        read_sidecar(tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_plain_file_is_not_waited_for(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = foreign.interplm(tmp_path)
    (path.parent / "config.yaml").unlink()
    make(path.parent / "config.yaml")
    refused(path, UnsafeArtifactError, "not a plain file")


def test_keys_of_a_configuration_may_be_of_any_type(tmp_path: Path) -> None:
    path = foreign.interplm(tmp_path)
    (path.parent / "config.yaml").write_text("2024-01-02: begun\n3: three\nnull: none\n")
    config = import_sae(path)[1]["config"]
    assert config == {"2024-01-02": "begun", "3": "three", "None": "none"}
