"""A real atlas of real proteins by the PLM that ships, with SAEs that were never trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
D_SAE = 48
# Atoms of an ideal helix: radius (Å), angle (degrees) and height (Å) of each within its residue.
_HELIX = {"N": (1.55, -27, -0.9), "CA": (2.28, 0, 0), "C": (1.67, 26, 1.1), "O": (2.0, 21, 2.3)}


def helix_pdb(n_residues: int) -> str:
    """Return the backbone of a helix of alanines."""
    lines = []
    for residue in range(n_residues):
        for name, (radius, angle, height) in _HELIX.items():
            turn = np.deg2rad(100 * residue + angle)
            x, y, z = 1.5 * residue + height, radius * np.cos(turn), radius * np.sin(turn)
            lines.append(
                f"ATOM  {len(lines) + 1:5d}  {name:<3} ALA A{residue + 1:4d}    "
                f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00 90.00           {name[0]}"
            )
    return "\n".join([*lines, "END", ""])


def write_bundle_of(folder: Path, sequences: list[str], *, seed: int) -> Path:
    from plmsae.bundle.meta import BundleMeta
    from plmsae.bundle.writing import write_bundle
    from plmsae.concepts.latents import firing_rates, max_activations
    from plmsae.encode import Encoder
    from plmsae.plm.model import load_plm
    from plmsae.sae.config import SaeConfig
    from plmsae.sae.model import build_sae

    plm = load_plm("plmsae-mini", max_layer=2, precision="auto")  # as the atlas opens it
    config = SaeConfig(arch="topk", d_in=plm.d_model, d_sae=D_SAE, k=8)
    sae = build_sae(config, seed=seed)
    # The most active latent becomes number 0: tests name the first ones, which must fire.
    rates = firing_rates(Encoder(plm, 2, sae).encode(sequences), D_SAE)
    order = np.argsort(-rates, kind="stable").tolist()
    state = sae.state_dict()
    for name, tensor in state.items():
        axes = [axis for axis, size in enumerate(tensor.shape) if size == D_SAE]
        if axes:
            state[name] = tensor.index_select(axes[0], torch.tensor(order))
    sae.load_state_dict(state)
    sae.save(folder / "sae")
    latents = Encoder(plm, 2, sae).encode(sequences)
    highest = max_activations(latents, D_SAE)
    concept = [f"Domain: {'SH3' if i % 2 else 'Kinase'}" if i < 4 else None for i in range(D_SAE)]
    scored = [0.9 - 0.1 * i if i < 4 else None for i in range(D_SAE)]
    features = pl.DataFrame(
        {
            "latent": np.arange(D_SAE),
            "density": firing_rates(latents, D_SAE),
            "max_activation": highest,
            "dead": highest <= 0,
            "concept": concept,
            "threshold": [0.5 if c else None for c in concept],
            "f1_select": scored,
            "precision": scored,
            "recall": scored,
            "f1": scored,
            "description": [None] * D_SAE,
        },
        schema_overrides={"description": pl.String},
    )
    columns = ("call_precision", "call_precision_low", "call_precision_high")
    concepts = pl.DataFrame(
        {
            "concept": ["Domain: Kinase", "Domain: SH3"],
            "kind": "span",
            "best_latent": [0, 1],
            "best_threshold": 0.5,
            "call_latent": [0, 1],
            "call_threshold": 0.5,
            "n_instances": 20,
            "n_residues": 400,
            "n_proteins": 20,
            "f1_select": [0.9, 0.8],
            "precision_residue": [0.9, 0.8],
            "recall": [0.9, 0.8],
            "f1": [0.9, 0.4 if seed else 0.8],
            **dict.fromkeys(columns, 0.9),
            "f1_neuron": [0.61, None],
            "f1_every_residue": [0.32, 0.21],
            "f1_same_residue": [0.11, 0.12],
            "n_calls": 20,
            "min_length": 1,
            "max_gap": 0,
        }
    )
    meta = BundleMeta(
        plm="plmsae-mini",
        plm_revision=plm.revision,
        plm_vocabulary=plm.vocabulary.fingerprint,
        layer=2,
        unit="residue",
        arch="topk",
        d_in=plm.d_model,
        d_sae=D_SAE,
        k=8,
        metrics={"explained_variance": 0.5},
    )
    write_bundle(
        folder / "bundle",
        sae_folder=folder / "sae",
        meta=meta,
        features=features,
        concepts=concepts,
    )
    return folder / "bundle"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two bundles (a, b), proteins.tsv, structures/ and the atlas (site/)."""
    from plmsae.workflows.atlas import run
    from plmsae.workflows.shared.progress import Silent
    from plmsae.workflows.shared.requests import AtlasRequest
    from plmsae.workflows.shared.swissprot_sample import SAMPLE

    folder = tmp_path_factory.mktemp("atlas")
    table = pl.read_csv(SAMPLE, separator="\t", infer_schema=False, quote_char=None)
    table = table.filter(pl.col("Sequence").str.len_chars() < 160)[:14]
    names = table["Protein names"].to_list()
    table = table.with_columns(pl.Series("Protein names", [HOSTILE, *names[1:]]))
    table.write_csv(folder / "proteins.tsv", separator="\t", quote_style="never")
    sequences = table["Sequence"].to_list()
    (folder / "structures").mkdir()
    (folder / "structures" / f"AF-{table['Entry'][0]}-F1-model_v4.pdb").write_text(helix_pdb(40))
    a, b = (
        write_bundle_of(tmp_path_factory.mktemp(n), sequences, seed=i) for i, n in enumerate("ab")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.chdir(folder)
        request = AtlasRequest(
            model=str(a),
            proteins=str(folder / "proteins.tsv"),
            out=folder / "site",
            compare=(str(b),),
            structures=folder / "structures",
            min_precision=0.0,
        )
        outcome = run(request, Silent())
    assert (outcome.n_proteins, outcome.n_compared, outcome.n_structures) == (14, 1, 1)
    return folder
