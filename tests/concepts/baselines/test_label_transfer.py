"""Labels carried over from the nearest labelled protein, against slow obvious references."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
from conftest_concepts import label_table

from plmsae.concepts.baselines.label_transfer import as_latents, carry_over, transfer_labels
from plmsae.concepts.baselines.nearest_protein import (
    Neighbours,
    nearest_by_embedding,
    nearest_by_homology,
)
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.proteins.alignment import align
from plmsae.proteins.alphabet import AMINO_ACIDS


def protein(rng, length):
    return "".join(rng.choices(AMINO_ACIDS, k=length))


def test_positions_follow_insertions_and_deletions():
    rng = random.Random(0)
    reference = protein(rng, 120)
    query = protein(rng, 7) + reference[:40] + protein(rng, 5) + reference[40:80] + reference[90:]
    spans = [(0, 10), (35, 45), (79, 80), (80, 90), (82, 96), (100, 120), (90, 91)]
    carried = carry_over(align(query, [reference])[0], spans)
    assert carried == [(7, 17), (42, 57), (91, 92), None, None, (102, 122), (92, 93)]
    for span, place in zip(spans, carried, strict=True):
        if place is not None and span[1] - span[0] == place[1] - place[0]:
            assert query[slice(*place)] == reference[slice(*span)]


def slow_transfer(queries, neighbours, references, table, accessions):
    """Residue by residue: the sets of positions that carry a concept, spans filled up."""
    marked = {}
    for q, t in zip(neighbours.query, neighbours.target, strict=True):
        (found,) = align(queries[q], [references[t]])
        opposite = dict(zip(found.target_positions, found.query_positions, strict=True))
        for accession, start, end, concept, _ in table.iter_rows():
            if accession != accessions[t]:
                continue
            hit = [opposite[p] for p in range(start - 1, end) if p in opposite]
            if hit and len(hit) >= 0.5 * (end - start + 1):
                marked.setdefault((q, concept), set()).update(range(min(hit), max(hit) + 1))
    return marked


def test_transferred_labels_equal_a_slow_transfer_residue_by_residue():
    rng = random.Random(1)
    references = [protein(rng, rng.randint(60, 150)) for _ in range(6)]
    accessions = [f"R{i}" for i in range(6)]
    rows = []
    for accession, sequence in zip(accessions, references, strict=True):
        for _ in range(4):
            start = rng.randint(1, len(sequence) - 10)
            rows.append((accession, start, start + rng.randint(0, 30), "a", "span"))
            rows.append((accession, start + 5, start + 5, "b", "site"))
    rows = [(a, s, min(e, len(references[int(a[1])])), c, k) for a, s, e, c, k in rows]
    table = label_table(rows).unique()
    labels = build_residue_labels(table, accessions, [len(s) for s in references])
    queries = []
    for reference in references:
        letters = [x if rng.random() < 0.7 else rng.choice(AMINO_ACIDS) for x in reference]
        at = rng.randrange(10, len(letters) - 10)
        del letters[at : at + rng.randint(0, 8)]
        queries.append("".join(letters))
    neighbours = Neighbours(
        query=np.arange(5), target=np.arange(1, 6), similarity=np.linspace(0.1, 1, 5)
    )
    queries = queries[1:]
    calls = transfer_labels(queries, neighbours, references, labels)
    expected = slow_transfer(queries, neighbours, references, table, accessions)
    found: dict = {}
    for protein_, start, end, concept, _, _ in calls.iter_rows():
        places = set(range(start - 1, end))
        assert not found.setdefault((protein_, concept), set()) & places  # none overlaps another
        found[protein_, concept] |= places
    assert len(expected) > 5
    assert found == expected
    assert calls["latent"].null_count() == calls.height
    assert calls.filter(pl.col("protein") == 4)["score"].unique().to_list() == [1.0]


def test_labels_of_whole_proteins_need_no_alignment():
    labels = build_residue_labels(
        label_table([("A", 1, 1, "GO:1", "span"), ("B", 1, 1, "GO:2", "span")]), ["A", "B"], [1, 1]
    )
    neighbours = Neighbours(query=np.array([1]), target=np.array([0]), similarity=np.array([0.4]))
    calls = transfer_labels(["MK", "W"], neighbours, ["D", "E"], labels, whole=True)
    assert calls.select("protein", "start", "end", "concept").rows() == [(1, 1, 1, "GO:1")]
    nobody = Neighbours(query=np.zeros(0, int), target=np.zeros(0, int), similarity=np.zeros(0))
    assert transfer_labels(["MK"], nobody, ["D", "E"], labels).columns == calls.columns


def test_the_nearest_embedding_is_that_of_least_distance_other_than_itself():
    rng = np.random.default_rng(0)
    references = rng.normal(size=(12, 5))
    queries = np.concatenate([rng.normal(size=(30, 5)), references])
    itself = np.concatenate([np.full(30, -1), np.arange(12)])
    found = nearest_by_embedding(queries, references, itself)
    distance = np.array([[np.sqrt(((q - r) ** 2).sum()) for r in references] for q in queries])
    distance[30 + np.arange(12), np.arange(12)] = np.inf
    assert found.query.tolist() == list(range(42))
    assert found.target.tolist() == distance.argmin(1).tolist()
    assert np.allclose(found.similarity, 1 / (1 + distance.min(1)))
    assert len(nearest_by_embedding(queries, references[:0], np.full(42, -1)).query) == 0
    assert len(nearest_by_embedding(references[:1], references[:1], [0]).query) == 0


def test_the_best_hit_is_the_nearest_relative_other_than_itself():
    rng = random.Random(4)
    ancestor = protein(rng, 150)
    near, far = (
        "".join(x if rng.random() < kept else rng.choice(AMINO_ACIDS) for x in ancestor)
        for kept in (0.9, 0.6)
    )
    stranger = protein(rng, 150)
    found = nearest_by_homology(
        [ancestor, stranger], [far, ancestor, near, protein(rng, 90)], [1, -1], method="kmer"
    )
    assert found.query.tolist() == [0]
    assert found.target.tolist() == [2]
    assert 0.85 < found.similarity[0] < 0.95


def test_calls_become_latents_on_their_residues():
    calls = pl.DataFrame(
        {"protein": [0, 0, 2], "start": [1, 3, 2], "end": [2, 3, 4],
         "concept": ["b", "a", "b"], "score": [0.5, 0.25, 1.0]}
    )  # fmt: skip
    latents = as_latents(calls, ("a", "b"), [3, 2, 4])
    assert [x.toarray().tolist() for x in latents] == [
        [[0, 0.5], [0, 0.5], [0.25, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 1], [0, 1], [0, 1]],
    ]  # fmt: skip
