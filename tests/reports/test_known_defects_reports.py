"""What public code gets wrong about feature reports, and must not be ours: each name states the
opposite."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from plmsae.reports.claude.requests import describe_request
from plmsae.reports.claude.settings import llm_settings
from plmsae.reports.collecting import build_evidence
from plmsae.reports.evidence import FeatureEvidence
from plmsae.reports.testing.samples import levels_of

MAXIMUM = 7.3
FEATURES = pl.DataFrame(
    {
        "latent": [0],
        "density": [0.1],
        "max_activation": [MAXIMUM],
        "concept": ["Motif"],
        "threshold": [0.5],
        "precision": [0.9],
        "recall": [0.9],
        "f1": [0.9],
        "f1_select": [0.9],
    }
)
CONCEPTS = FEATURES.select(
    "concept", "f1", "f1_select", best_latent="latent", best_threshold="threshold"
)


def evidence_of(*peaks: float) -> FeatureEvidence:
    """The evidence on one latent, from one protein a peak (as a share of its maximum)."""
    latents = [csr_array(np.array([[0], [peak * MAXIMUM]], dtype=np.float32)) for peak in peaks]
    accessions = [f"P{i}" for i in range(len(peaks))]
    (found,) = build_evidence(
        FEATURES, CONCEPTS, latents, accessions, ["MA"] * len(peaks), None, latents_to_report=1
    )
    return found


def test_the_top_level_includes_the_maximum_and_the_strongest_proteins_are_shown() -> None:
    # Elsewhere the last bin ends before 1.0: the strongest proteins never reach the LLM.
    found = evidence_of(0.05, 1.0, 0.55, 1.0)
    top = found.levels[-1]
    assert (top.n_proteins, top.accessions) == (2, ("P1", "P3"))
    assert [example.accession for example in found.examples[:2]] == ["P1", "P3"]
    prompt = describe_request(found, llm_settings()).arguments["messages"][0]["content"]
    assert '"P1"' in prompt
    assert '"P3"' in prompt


def test_every_protein_on_which_a_feature_fires_falls_into_one_level() -> None:
    # Elsewhere a protein can lie in no bin; here not even one beyond the reference maximum.
    peaks = [*np.linspace(0.01, 1, 34), 1.4, 0.0]
    assert sum(level.n_proteins for level in evidence_of(*peaks).levels) == 35
    assert levels_of(np.array([1.0, 0.0], dtype=np.float32)).tolist() == [9, 0]
