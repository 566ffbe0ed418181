"""Whether an imported SAE fits its layer, with SAEs that are the principal components of one.

They are computed here, by a plain singular value decomposition of real activations: an SAE of ±24
components reconstructs the layer that they were computed from and hardly any other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from plmsae.bundle.reading import read_bundle
from plmsae.core.errors import InputError, QualityError
from plmsae.plm.model import load_plm
from plmsae.proteins.reading import read_proteins
from plmsae.proteins.records import Protein
from plmsae.workflows import import_sae
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import ImportRequest
from plmsae.workflows.shared.swissprot_sample import SAMPLE, sample_proteins

COMPONENTS = 24


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("PLMSAE_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)


def components(folder: Path, plm: str, layer: int) -> Path:
    """Write principal components of a layer as a TopK SAE in SAELens' layout."""
    found = [record for record in read_proteins(SAMPLE) if isinstance(record, Protein)]
    shipped = {protein.sequence for protein in sample_proteins(import_sae.FIT_PROTEINS).proteins}
    # Other proteins than those on which the fit is measured.
    others = [p.sequence for p in found if len(p.sequence) < 300 and p.sequence not in shipped]
    model = load_plm(plm, device="cpu", max_layer=layer)
    x_ND = torch.cat([s[layer] for _, s in model.activations(others[:20], [layer])])
    mean_D = x_ND.mean(0)
    basis_KD = torch.linalg.svd(x_ND - mean_D, full_matrices=False)[2][:COMPONENTS]
    both_FD = torch.cat([basis_KD, -basis_KD]).contiguous()
    tensors = {
        "W_enc": both_FD.T.contiguous(),
        "W_dec": both_FD,
        "b_enc": torch.zeros(len(both_FD)),
        "b_dec": mean_D,
    }
    folder.mkdir()
    save_file(tensors, folder / "sae_weights.safetensors")
    config = {"architecture": "topk", "d_in": len(mean_D), "d_sae": len(both_FD), "k": COMPONENTS}
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def bring(folder: Path, **changes: Any) -> import_sae.ImportOutcome:
    given = {"plm": "plmsae-mini", "layer": 3, "register": False, "device": "cpu"} | changes
    return import_sae.run(ImportRequest(source="sae", folder=folder, **given), Silent())


def test_an_sae_of_this_layer_is_measured_on_proteins_that_ship(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    outcome = bring(components(tmp_path / "theirs", "plmsae-mini", 3))
    assert outcome.metrics["explained_variance"] > 0.3
    bundle = read_bundle(outcome.bundle)
    assert bundle.meta.metrics["explained_variance"] == outcome.metrics["explained_variance"]
    assert bundle.meta.extra["measured_on"] == "swissprot_sample.tsv.gz"
    assert bundle.meta.plm_vocabulary
    # A few dozen proteins do not tell the range of a latent.
    assert set(bundle.features["max_activation"]) == {0.0}
    store = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (data,) = store.get_run(str(bundle.meta.extra["train_run"])).inputs.dataset_inputs
    assert data.dataset.name == "swissprot_sample.tsv.gz"


def test_an_sae_of_another_layer_is_refused_and_its_layer_named(tmp_path: Path) -> None:
    folder = components(tmp_path / "theirs", "plmsae-mini", 3)
    # Layer 4 is a neighbour, of layer 6 it is not.
    for layer in (4, 6):
        with pytest.raises(InputError, match=r"layer 3 fits best.*give --layer 3") as caught:
            bring(folder, layer=layer)
        assert str(caught.value).startswith("--layer: the SAE does not fit this layer")
        assert not (tmp_path / "runs").exists()
    outcome = bring(folder, layer=4, check_fit=False)
    assert outcome.metrics == {}


def test_an_sae_of_no_layer_is_refused(tmp_path: Path) -> None:
    folder = components(tmp_path / "theirs", "plmsae-mini", 3)
    from safetensors.torch import load_file

    tensors = load_file(folder / "sae_weights.safetensors")
    # As if its activations had been divided by ten and nobody said so.
    save_file(tensors | {"b_dec": tensors["b_dec"] * 10}, folder / "sae_weights.safetensors")
    with pytest.raises(InputError, match=r"explains nothing .* after any block .*--norm-factor"):
        bring(folder)


def test_a_real_esm_tells_its_layers_apart(tmp_path: Path, real_plm: Path) -> None:
    folder = components(tmp_path / "theirs", str(real_plm), 4)
    assert bring(folder, plm=str(real_plm), layer=4).metrics["explained_variance"] > 0.2
    with pytest.raises(InputError, match="give --layer 4"):
        bring(folder, plm=str(real_plm), layer=5)


def test_a_plm_that_cannot_be_had_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = components(tmp_path / "theirs", "plmsae-mini", 3)

    def missing(*_: object, **__: object) -> None:
        raise InputError("the hub cannot be reached")

    monkeypatch.setattr("plmsae.plm.model.load_plm", missing)
    with pytest.raises(InputError, match=r"the hub cannot be reached.*--no-check-fit"):
        bring(folder)


def test_a_published_sae_is_refused_for_another_plm_or_normalisation(tmp_path: Path) -> None:
    # A folder named like a published repository is taken for a copy of it.
    folder = components(tmp_path / "sae_esm2_6_l3", "plmsae-mini", 3)
    with pytest.raises(InputError, match=r"trained on esm2-8m .*give --plm esm2-8m"):
        bring(folder, layer=4)
    other = components(tmp_path / "other", "plmsae-mini", 3)
    with pytest.raises(InputError, match="reads activations with the normalisation layer_norm"):
        bring(other, plm="esm2-650m", layer=24, name="liambai/InterProt-ESM2-SAEs")


def test_an_sae_that_is_never_active_does_not_pass_its_gate(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = components(tmp_path / "theirs", "plmsae-mini", 3)
    assert bring(folder).quality["models"]["success"]
    tensors = load_file(folder / "sae_weights.safetensors")
    save_file(tensors | {"b_enc": tensors["b_enc"] - 1e6}, folder / "sae_weights.safetensors")
    proteins = tmp_path / "p.fasta"
    proteins.write_text(">P1\nMKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ\n")
    out = tmp_path / "second"
    with pytest.raises(QualityError, match="expected models with l0 more than 0"):
        bring(folder, check_fit=False, proteins=str(proteins), out=out, register=True)
    assert [path.name for path in out.iterdir()] == ["quality-models"]
