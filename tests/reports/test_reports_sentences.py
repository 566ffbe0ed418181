"""Every sentence of every feature of a small report says what the tables say."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array
from sentence_checkers import BYLINES, CLAIMS, DESCRIPTIONS, TITLES, Tables, check_report

from plmsae.reports.collecting import build_evidence
from plmsae.reports.describe import describe_all
from plmsae.reports.page import byline
from plmsae.reports.report import FeatureReport

N_LATENTS = 15
NEVER_ABOVE, UNLABELLED, SILENT, ON_W, EVERYWHERE = 3, 11, 12, 13, 14
LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))


@pytest.fixture(scope="module")
def world() -> tuple[list[FeatureReport], Tables]:
    """Reports on 15 features in 30 proteins, with the tables that they were made from."""
    rng = np.random.default_rng(5)
    sequences = ["".join(rng.choice(LETTERS, rng.integers(30, 90))) for _ in range(30)]
    accessions = [f"P{i:05}" for i in range(30)]
    arrays = []
    for sequence in sequences:
        shape = (len(sequence), N_LATENTS)
        values = rng.random(shape) * 4
        dense = np.where(rng.random(shape) < rng.choice([0.01, 0.3], N_LATENTS), values, 0)
        dense[:, SILENT] = 0
        dense[:, ON_W] = np.where(np.array(list(sequence)) == "W", values[:, ON_W], 0)
        dense[:, EVERYWHERE] = 3 + values[:, EVERYWHERE] / 4
        arrays.append(dense.astype(np.float32))
    rows = []
    for accession, sequence in zip(accessions, sequences, strict=True):
        for name in ("Domain: A", "Motif: B", "Site: C"):
            start = int(rng.integers(1, len(sequence) - 8))
            rows.append((accession, start, start + int(rng.integers(0, 8)), name))
    labels = pl.DataFrame(rows, schema=["accession", "start", "end", "concept"], orient="row")
    highest = np.vstack(arrays).max(axis=0)
    highest[SILENT] = 1.0  # it fired on the proteins that it was chosen on
    concept = ["Domain: A", "Motif: B", None] * 5
    features = pl.DataFrame(
        {
            "latent": range(N_LATENTS),
            "density": [0.1] * N_LATENTS,
            "max_activation": highest,
            "dead": [False] * N_LATENTS,
            "concept": concept,
            "threshold": [
                None if c is None else 0.999 if i == NEVER_ABOVE else 0.5
                for i, c in enumerate(concept)
            ],
            "precision": [None if c is None else 0.6 for c in concept],
            "recall": [None if c is None else 0.4 for c in concept],
            "f1": [None if c is None else 0.2 + 0.06 * (i % 11) for i, c in enumerate(concept)],
            "f1_select": [
                None if c is None else 0.2 + 0.06 * (i % 7) for i, c in enumerate(concept)
            ],
        }
    )
    concepts = pl.DataFrame(
        {
            "concept": ["Site: C", "Site: D", "Domain: A", "Motif: B", "Domain: E"],
            "best_latent": [0, 0, 9, 1, UNLABELLED],
            "best_threshold": [0.3, 0.3, 0.5, 0.7, 0.4],
            "precision_residue": [0.3, 0.2, 0.6, 0.9, 0.9],
            "recall": [0.2, 0.1, 0.4, 0.9, 0.9],
            "f1": [0.15, 0.12, 0.74, 0.26, 0.9],
            "f1_select": [0.15, 0.12, 0.7, 0.3, 0.9],
            "f1_low": [0.1, 0.0, 0.61, 0.2, None],
            "f1_high": [0.2, 0.2, 0.83, 0.3, None],
            "n_instances": [12, 3, 1, 1234, 7],
        }
    )
    evidence = build_evidence(
        features,
        concepts,
        [csr_array(array) for array in arrays],
        accessions,
        sequences,
        labels,
        latents_to_report=N_LATENTS,
    )
    tables = Tables(
        features=features,
        concepts=concepts,
        labels=labels,
        sequences=dict(zip(accessions, sequences, strict=True)),
        latents=dict(zip(accessions, arrays, strict=True)),
    )
    return describe_all(evidence, client=None), tables


def forms_of(world: tuple[list[FeatureReport], Tables]) -> Iterator[str]:
    reports, tables = world
    for report in reports:
        yield from check_report(report.to_json(), byline(report), tables)


def test_every_sentence_is_true_and_every_form_of_sentence_is_met(
    world: tuple[list[FeatureReport], Tables],
) -> None:
    forms = [form for checkers in (TITLES, CLAIMS, DESCRIPTIONS, BYLINES) for form, _ in checkers]
    assert set(forms_of(world)) == set(forms)


@pytest.mark.parametrize("field", ["title", "claim", "description"])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + " It is essential.",
        lambda text: text.translate(str.maketrans("123456789", "234567891")),
    ],
)
def test_a_new_sentence_and_a_wrong_number_are_noticed(
    world: tuple[list[FeatureReport], Tables], field: str, change: object
) -> None:
    reports, tables = world
    noticed = 0
    for report in reports:
        told = report.to_json()
        changed = change(told[field])
        if changed == told[field]:
            continue  # a title without a number
        noticed += 1
        with pytest.raises((AssertionError, KeyError, IndexError)):
            check_report({**told, field: changed}, byline(report), tables)
    assert noticed or field == "title"
