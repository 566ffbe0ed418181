"""What public code runs by opening a file, and ours must not: each name states the opposite."""

from __future__ import annotations

import ast
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import plmsae
from plmsae.core.errors import InputError
from plmsae.plm.model import load_plm
from plmsae.quality.suites import load_suite
from plmsae.registry.gates import load_gates
from plmsae.registry.mlflow_model import check_mlmodel_text
from plmsae.sae.checkpoints import latest_checkpoint, load_checkpoint
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.importing.dispatch import import_sae
from plmsae.sae.importing.opening import read_sidecar
from plmsae.sae.model import build_sae, load_sae
from plmsae.sae.train import train
from plmsae.workflows.training.recipes import load_recipe

SAE = SaeConfig(arch="topk", d_in=4, d_sae=8, k=2)
RUN = TrainConfig(steps=2, batch_size=8)


class Bomb:
    """A pickle that leaves a mark if it runs."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize(
    "read",
    [
        read_sidecar,
        load_gates,
        load_recipe,
        lambda path: load_suite("labels", path),
        lambda path: check_mlmodel_text(path.read_text(), where=path),
    ],
    ids=["beside a checkpoint", "gates", "recipe", "suite", "MLmodel"],
)
def test_yaml_is_read_as_data_and_never_run(read: Callable[[Path], Any], tmp_path: Path) -> None:
    # Elsewhere a downloaded config.yaml is loaded unsafely, and can call anything.
    path, mark = tmp_path / "config.yaml", tmp_path / "mark"
    path.write_text(f"lr: !!python/object/apply:os.mkdir ['{mark}']\n")
    with pytest.raises(InputError):
        read(path)
    assert not mark.exists()


def sae_folder(folder: Path, bomb: bytes) -> None:
    build_sae(SAE).save(folder)
    (folder / "sae_weights.safetensors").write_bytes(bomb)
    load_sae(folder)


def pickle_beside(folder: Path, bomb: bytes) -> None:
    build_sae(SAE).save(folder)
    (folder / "sae_weights.safetensors").unlink()
    (folder / "ae.pt").write_bytes(bomb)
    load_sae(folder)


def imported(folder: Path, bomb: bytes) -> None:
    (folder / "ae.pt").write_bytes(bomb)
    import_sae(folder / "ae.pt")


def resumed(folder: Path, bomb: bytes) -> None:
    train([torch.randn(8, 4)] * 2, SAE, RUN, checkpoint_dir=folder)
    latest = latest_checkpoint(folder)
    assert latest is not None
    (latest / "state.safetensors").write_bytes(bomb)
    load_checkpoint(latest, SAE, RUN)


def opened_plm(folder: Path, bomb: bytes) -> None:
    from transformers import EsmConfig

    EsmConfig(
        vocab_size=33,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        pad_token_id=1,
        mask_token_id=32,
    ).save_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(bomb)
    load_plm(str(folder), device="cpu")


@pytest.mark.parametrize("zipped", [True, False], ids=["torch", "pickle"])
@pytest.mark.parametrize("open_it", [sae_folder, pickle_beside, imported, resumed, opened_plm])
def test_pickled_checkpoints_are_refused_and_never_executed(
    open_it: Callable[[Path, bytes], None], zipped: bool, tmp_path: Path
) -> None:
    # Elsewhere checkpoints are pickles, and opening one runs what it says.
    mark, path, folder = tmp_path / "mark", tmp_path / "bomb.pt", tmp_path / "in"
    folder.mkdir()
    if zipped:
        torch.save({"state_dict": Bomb(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(InputError):
        open_it(folder, path.read_bytes())
    assert not mark.exists()


_YAML = {"yaml.safe_load", "yaml.safe_dump", "yaml.scan"}
_PICKLERS = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def runs_what_it_reads(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return bool(_PICKLERS & {alias.name for alias in node.names})
    if isinstance(node, ast.ImportFrom):
        return node.module in _PICKLERS
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    return (
        name in ("eval", "exec", "__import__")
        or (name.startswith("yaml.") and name not in _YAML)
        or (name == "torch.load" and given.get("weights_only") != "True")
        or given.get("allow_pickle", "False") != "False"
        or given.get("trust_remote_code", "False") != "False"
    )


def test_no_code_of_ours_unpickles_evaluates_or_reads_yaml_freely() -> None:
    # The reader that somebody adds tomorrow is not among those above; its source is here.
    for path in sorted(Path(plmsae.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not runs_what_it_reads(node), f"{path.name}: {ast.unparse(node)}"
