"""Parts of a tiny bundle, written by hand: no SAE code is needed to test the registry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
from safetensors.numpy import save_file

from plmsae.bundle.meta import EVAL_LABELS, BundleMeta
from plmsae.core.fingerprint import DataFingerprint

D_IN, D_SAE = 4, 6


def tiny_sae(folder: Path) -> Path:
    """Write an SAE folder in SAELens' layout."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    shapes = {"W_enc": (D_IN, D_SAE), "W_dec": (D_SAE, D_IN), "b_enc": (D_SAE,), "b_dec": (D_IN,)}
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "sae_weights.safetensors")
    config = {"architecture": "topk", "d_in": D_IN, "d_sae": D_SAE, "k": 2}
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def tiny_features() -> pl.DataFrame:
    dead = [False] * 5 + [True]
    return pl.DataFrame(
        {
            "latent": range(D_SAE),
            "density": [0.0 if d else 0.1 for d in dead],
            "max_activation": [0.0 if d else 2.5 for d in dead],
            "dead": dead,
            "concept": ["Motif: P-loop", None, "Transmembrane", None, None, None],
            "threshold": [0.5, None, 0.15, None, None, None],
            "f1_select": [0.9, None, 0.7, None, None, None],
            "precision": [0.95, None, 0.8, None, None, None],
            "recall": [0.8, None, 0.6, None, None, None],
            "f1": [0.87, None, 0.69, None, None, None],
            "description": ["binds ATP", None, None, None, None, None],
        }
    )


def tiny_concepts() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "concept": ["Motif: P-loop", "Transmembrane"],
            "kind": ["span", "span"],
            "best_latent": [0, 2],
            "best_threshold": [0.5, 0.15],
            "call_latent": [0, 3],
            "call_threshold": [0.6, 0.15],
            "n_instances": [40, 12],
            "n_residues": [320, 240],
            "n_proteins": [40, 6],
            "f1_select": [0.9, 0.7],
            "precision_residue": [0.95, 0.8],
            "recall": [0.8, 0.6],
            "f1": [0.87, 0.69],
            "call_precision": [0.96, None],
            "call_precision_low": [0.85, None],
            "call_precision_high": [0.99, None],
            "n_calls": [50, 0],
            "min_length": [4, 12],
            "max_gap": [2, 3],
        }
    )


METRICS = {
    "explained_variance": 0.9,
    "loss_recovered": 0.95,
    "dead_share": 0.02,
    "n_features_f1_50": 12.0,
    "n_concepts_f1_50": 8.0,
    "n_concepts_callable": 1.0,
    "neuron_concepts_f1_50": 2.0,
}


def tiny_meta(**changes: object) -> BundleMeta:
    values: dict[str, object] = {
        "plm": "plmsae-mini",
        "plm_revision": "abc123",
        "plm_vocabulary": "0" * 64,
        "layer": 4,
        "unit": "residue",
        "arch": "topk",
        "d_in": D_IN,
        "d_sae": D_SAE,
        "k": 2,
        "train_data": DataFingerprint(
            source="corpus.fasta.gz", sha256="0" * 64, n_proteins=10, n_residues=1000
        ),
        "eval_data": DataFingerprint(source="report.tsv.gz", sha256="1" * 64, n_proteins=4),
        "extra": {EVAL_LABELS: "2" * 64},
        "metrics": METRICS,
        "versions": {"torch": "2.13.0"},
        "created": "2026-11-20T12:00:00+00:00",
    }
    return BundleMeta(**{**values, **changes})  # type: ignore[arg-type]
