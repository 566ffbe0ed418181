"""Proteins in which a concept is one direction among many that are always on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from conftest_concepts import label_table

from plmsae.concepts.labels.residue_labels import ResidueLabels, build_residue_labels


@dataclass
class Planted:
    """P proteins of equal length; instances of c0, c1, … on random places."""

    states: list
    accessions: list
    sequences: list
    labels: pl.DataFrame
    split: np.ndarray
    truth: list
    """Which latents (columns: concepts, then background) are active, one array a protein."""

    def both(self) -> list[tuple[np.ndarray, ResidueLabels]]:
        lengths = [len(s) for s in self.sequences]
        labels = build_residue_labels(self.labels, self.accessions, lengths)
        members = [np.flatnonzero(self.split == name) for name in ("select", "report")]
        return [(index, labels.take(index)) for index in members]


def planted(seed=0, *, n_proteins=40, length=30, n_concepts=6, n_dense=24, d=16) -> Planted:
    """Superpose rare concept directions on many more dense directions than there are dimensions."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(n_concepts + n_dense, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rows, states, truth = [], [], []
    accessions = [f"P{i}" for i in range(n_proteins)]
    for accession in accessions:
        active = np.zeros((length, n_concepts + n_dense), dtype=np.float32)
        active[:, n_concepts:] = rng.gamma(2, 1, (length, n_dense)) * (
            rng.random((length, n_dense)) < 0.3
        )
        for concept in range(n_concepts):
            if rng.random() < 0.7:
                start = int(rng.integers(0, length - 4))
                active[start : start + 4, concept] = 3.0
                rows.append((accession, start + 1, start + 4, f"c{concept}", "span"))
        truth.append(active)
        states.append((active @ directions).astype(np.float32))
    sequences = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), length)) for _ in accessions]
    split = np.array(["select", "report"])[np.arange(n_proteins) % 2]
    return Planted(states, accessions, sequences, label_table(rows), split, truth)
