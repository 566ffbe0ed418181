"""What a small atlas is made from: bundles, a structure, a written report, an ontology."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from api_server import Reply, message, serving

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
FORMULA = '=HYPERLINK("http://e.invalid";"x, y")'
HOSTILE_LABEL = "<b>A & B</b>"
D_SAE = 48
N_PROTEINS = 24
WRITTEN = (0, 1)
"""Latents that a written report describes."""
TITLE, CLAIM = "Amphipathic face", "It marks the face of short helices that meets the solvent."
OBO = """format-version: 1.2

[Term]
id: GO:0003674
name: molecular_function
namespace: molecular_function

[Term]
id: GO:0005488
name: binding
namespace: molecular_function
is_a: GO:0003674

[Term]
id: GO:0005515
name: protein binding
namespace: molecular_function
is_a: GO:0005488
"""
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


def highest_of(model: str, sequences: list[str]) -> np.ndarray[Any, Any]:
    """Return the highest scaled activation of each latent in each protein, (P, F)."""
    from plmsae.concepts.latents import scale
    from plmsae.registry.models import resolve_exactly
    from plmsae.scoring.encoding import load_encoder

    bundle, _ = resolve_exactly(model)
    highest = bundle.features["max_activation"].to_numpy()
    arrays = load_encoder(bundle).encode(sequences)
    return np.stack([scale(array, highest).max(axis=0).toarray().ravel() for array in arrays])


def write_report(model: str, table: Path, out: Path, highest_PF: np.ndarray[Any, Any]) -> None:
    """Have the report command write about two latents, with a Claude that knows the proteins."""
    from plmsae.workflows.report import run
    from plmsae.workflows.shared.progress import Silent
    from plmsae.workflows.shared.requests import ReportRequest

    frame = pl.read_csv(table, separator="\t", infer_schema=False, quote_char=None)
    place = {name: i for i, name in enumerate(frame["Protein names"])}

    def block(content: str, tag: str) -> Any:
        return json.loads(content.split(f"<{tag}>\n")[1].split(f"\n</{tag}>")[0])

    def reply(body: dict[str, Any]) -> Reply:
        content = body["messages"][0]["content"]
        if "<proteins>" not in content:
            evidence = block(content, "evidence")
            example = evidence["examples"][0]
            return 200, message(
                json.dumps(
                    {
                        "title": TITLE,
                        "claim": f"{CLAIM} ({evidence['latent']})",
                        "description": "It is strong where one side of a helix is polar.",
                        "activation_rule": "Strong in short proteins.",
                        "citations": [
                            {
                                "accession": example["accession"],
                                "position": example["peak"],
                                "residue": example["window"][
                                    example["peak"] - example["window_start"]
                                ],
                                "shows": "the peak",
                            }
                        ],
                        "known_concept": None,
                        "confidence": "medium",
                    }
                )
            )
        latent = int(block(content, "description")["claim"].rsplit("(", 1)[1].rstrip(")"))
        guesses = [
            # Not quite right, so that r is not 1.
            {
                "protein": p["protein"],
                "activation": round(float(highest_PF[place[p["name"]], latent]), 1),
            }
            for p in block(content, "proteins")
        ]
        return 200, message(json.dumps({"predictions": guesses}))

    with serving(reply) as api, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHROPIC_API_KEY", "k")
        patch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{api.port}")
        request = ReportRequest(model=model, proteins=str(table), out=out, latents=WRITTEN)
        outcome = run(request, Silent())
    assert "claude-sonnet-5-5" in outcome.authors
