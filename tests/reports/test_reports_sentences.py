"""Every sentence of every feature of a small report says what the tables say."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from plmsae.reports.collecting import build_evidence
from plmsae.reports.text_summary import GOOD_F1, description_of, summary_of, title_of

N_LATENTS = 12
LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))


@pytest.fixture(scope="module")
def report():
    """Evidence of a dozen features on 30 proteins, with the tables that it was made from."""
    rng = np.random.default_rng(5)
    sequences = ["".join(rng.choice(LETTERS, rng.integers(30, 90))) for _ in range(30)]
    accessions = [f"P{i:05}" for i in range(30)]
    arrays = [
        csr_array(
            np.where(
                rng.random((len(s), N_LATENTS)) < rng.choice([0.01, 0.3], N_LATENTS),
                rng.random((len(s), N_LATENTS)) * 4,
                0,
            ).astype(np.float32)
        )
        for s in sequences
    ]
    rows = []
    for accession, sequence in zip(accessions, sequences, strict=True):
        for name in ("Domain: A", "Motif: B", "Site: C"):
            start = int(rng.integers(1, len(sequence) - 8))
            rows.append((accession, start, start + int(rng.integers(0, 8)), name))
    labels = pl.DataFrame(rows, schema=["accession", "start", "end", "concept"], orient="row")
    highest = np.vstack([a.max(axis=0).toarray().ravel() for a in arrays]).max(axis=0)
    concept = ["Domain: A", "Motif: B", None] * 4
    f1 = [None if c is None else 0.2 + 0.06 * i for i, c in enumerate(concept)]
    features = pl.DataFrame(
        {
            "latent": range(N_LATENTS),
            "density": [0.1] * N_LATENTS,
            "max_activation": highest,
            "dead": [False] * N_LATENTS,
            "concept": concept,
            "threshold": [None if c is None else 0.5 for c in concept],
            "precision": [None if c is None else 0.6 for c in concept],
            "recall": [None if c is None else 0.4 for c in concept],
            "f1": f1,
        }
    )
    concepts = pl.DataFrame(
        {
            "concept": ["Site: C", "Site: D"],
            "best_latent": [0, 0],
            "best_threshold": [0.3, 0.3],
            "precision_residue": [0.3, 0.2],
            "recall": [0.2, 0.1],
            "f1": [0.15, 0.12],
        }
    )
    evidence = build_evidence(
        features, concepts, arrays, accessions, sequences, labels, latents_to_report=N_LATENTS
    )
    latents = {
        accession: array.toarray() for accession, array in zip(accessions, arrays, strict=True)
    }
    return evidence, features, labels, latents, dict(zip(accessions, sequences, strict=True))


def test_the_place_named_is_the_maximum_and_the_label_named_contains_it(report):
    evidence, _, labels, latents, _ = report
    named = 0
    for one in evidence:
        found = re.search(
            r"strongest at residue (\d+) of (\w+?)(?:, within (.+) (\d+)\.\.(\d+))?\.",
            description_of(one),
        )
        assert found is not None
        position, accession = int(found[1]), found[2]
        column = latents[accession][:, one.latent]
        highest = max(array[:, one.latent].max() for array in latents.values())
        assert column[position - 1] == highest
        here = labels.filter(
            (pl.col("accession") == accession)
            & (pl.col("start") <= position)
            & (pl.col("end") >= position)
        )
        if found[3] is None:
            assert here.is_empty()
        else:
            named += 1
            span = (found[3], int(found[4]), int(found[5]))
            assert span in set(here.select("concept", "start", "end").iter_rows())
    assert named


def test_the_numbers_of_proteins_and_the_scores_equal_the_tables(report):
    evidence, features, _, latents, _ = report
    for one in evidence:
        row = features.row(one.latent, named=True)
        active = sum(
            bool((a[:, one.latent] >= 0.15 * row["max_activation"]).any()) for a in latents.values()
        )
        assert f"active on {active} protein{'' if active == 1 else 's'} of 30" in description_of(
            one
        )
        if row["concept"] is None:
            assert "detects none of the known concepts" in summary_of(one)
            continue
        verb = "detects" if row["f1"] > GOOD_F1 else "is loosely tied to"
        scores = f"F1 {row['f1']:.2f}, precision 0.60, recall 0.40"
        assert f"It {verb} {row['concept']} ({scores} " in summary_of(one)
        assert (title_of(one) == row["concept"]) == (row["f1"] > GOOD_F1)


def test_the_residues_named_stand_at_the_strong_peaks_in_the_shares_given(report):
    evidence, features, _, latents, sequences = report
    total = "".join(sequences.values())
    for one in evidence:
        highest = features["max_activation"][one.latent]
        held_back = {protein.accession for protein in one.held_out}
        columns = {n: a[:, one.latent] for n, a in latents.items() if n not in held_back}
        peaks = [
            sequences[name][int(c.argmax())]
            for name, c in columns.items()
            if c.max() >= 0.5 * highest
        ]
        text = description_of(one)
        for letter, share, fold in re.findall(r"([A-Z]) \((\d+)%, ([\d.]+)× usual\)", text):
            found = peaks.count(letter) / len(peaks)
            assert int(share) == pytest.approx(found * 100, abs=0.51)
            usual = total.count(letter) / len(total)
            assert float(fold) == pytest.approx(found / usual, abs=0.06)


def test_the_other_concepts_named_are_those_of_the_table(report):
    (first,) = [one for one in report[0] if one.latent == 0]
    assert "It is also tied to Site: C (0.15), Site: D (0.12), F1 in brackets." in description_of(
        first
    )
