"""A feature that fires on one motif, in proteins of many families, with relatives that lack it."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from plmsae.reports.collecting import build_evidence
from plmsae.reports.evidence import FeatureEvidence, ProteinMetadata
from plmsae.reports.testing.samples import Homology

MOTIF = "GDSGGPW"
N_FAMILIES = 40


def world(
    *, latents: int = 1, names: str = "hydrolase", labelled: bool = True
) -> list[FeatureEvidence]:
    """Evidence on features whose activation follows how much of the motif a protein has."""
    rng = np.random.default_rng(5)
    letters = np.array(list("ACDEFHIKLMNPQRSTVY"))
    accessions, sequences, arrays, clusters, labels = [], [], [], [], []
    relatives: dict[int, list[int]] = {}
    for family in range(N_FAMILIES):
        parent = rng.choice(letters, 80)
        level = [1.0, 0.95, 0.75, 0.45, 0.0][family % 5]
        for member in range(2):
            sequence = parent.copy()
            dense = np.zeros((80, latents), dtype=np.float32)
            if level and member == 0:
                kept = {1.0: 7, 0.95: 7, 0.75: 6, 0.45: 5}[level]
                sequence[30 : 30 + kept] = list(MOTIF[:kept])
                dense[33] = level * 4.0
                labels.append((f"A{family:02d}0", 31, 37, "Active site"))
            accessions.append(f"A{family:02d}{member}")
            sequences.append("".join(sequence))
            arrays.append(csr_array(dense))
            clusters.append(family)
        first = 2 * family
        relatives[first], relatives[first + 1] = [first + 1], [first]
    features = pl.DataFrame(
        {
            "latent": list(range(latents)),
            "density": [0.01] * latents,
            "max_activation": [4.0] * latents,
            "concept": ["Active site" if labelled else None] * latents,
            "threshold": [0.5 if labelled else None] * latents,
            "precision": [0.9 if labelled else None] * latents,
            "recall": [0.9 if labelled else None] * latents,
            "f1": [0.9 if labelled else None] * latents,
            "f1_select": [0.9 if labelled else None] * latents,
        },
        schema_overrides={"concept": pl.String, "f1": pl.Float64, "f1_select": pl.Float64},
    )
    concepts = features.select(
        "concept", "f1", "f1_select", best_latent="latent", best_threshold="threshold"
    ).drop_nulls()
    table = pl.DataFrame(labels, schema=["accession", "start", "end", "concept"], orient="row")
    return build_evidence(
        features,
        concepts,
        arrays,
        accessions,
        sequences,
        table if labelled else None,
        latents_to_report=latents,
        metadata={a: ProteinMetadata(name=f"{names} {a}", organism="E. coli") for a in accessions},
        homology=Homology(clusters=clusters, relatives=relatives),
    )
