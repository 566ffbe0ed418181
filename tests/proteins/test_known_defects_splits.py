"""What public code gets wrong about splits, and must not be ours: each name states the opposite."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest

from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.proteins.splits import cluster, split
from plmsae.workflows.evaluating.protein_split import choose_sides, divide
from plmsae.workflows.shared.requests import EvaluateRequest

N_FAMILIES, MEMBERS = 20, 3


@pytest.fixture(scope="module")
def families() -> list[str]:
    """Twenty families of three: an ancestor and two descendants of about 70 % identity."""
    rng = random.Random(0)
    sequences = []
    for _ in range(N_FAMILIES):
        ancestor = rng.choices(AMINO_ACIDS, k=150)
        sequences.append("".join(ancestor))
        for _ in range(MEMBERS - 1):
            child = [x if rng.random() < 0.7 else rng.choice(AMINO_ACIDS) for x in ancestor]
            sequences.append("".join(child))
    return sequences


def sides_of_families(side_P: np.ndarray) -> list[int]:
    """On how many sides each family stands."""
    return [len(set(members)) for members in side_P.reshape(N_FAMILIES, MEMBERS)]


def test_splits_keep_homologues_together(families: list[str]) -> None:
    # Elsewhere proteins are split at random: of twenty families nearly all would be cut.
    clusters = cluster(families, method="kmer")
    for seed in range(5):
        sides = split(clusters, {"train": 0.6, "select": 0.2, "report": 0.2}, seed)
        assert set(sides) == {0, 1, 2}
        assert sides_of_families(sides) == [1] * N_FAMILIES


def test_the_split_of_an_evaluation_keeps_homologues_together(
    families: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same, by the function that `plmsae evaluate` calls, where nobody has named clusters.
    monkeypatch.setenv("PATH", "")  # our own search, whether or not MMseqs2 is installed
    accessions = [f"P{i}" for i in range(len(families))]
    table = pl.DataFrame(
        {"accession": accessions, "sequence": families, "cluster": [None] * len(families)},
        schema_overrides={"cluster": pl.String},
    )
    request = EvaluateRequest(model="m", concepts="a.tsv")
    divided = divide(choose_sides([table], request), request)
    assert divided.table["accession"].to_list() == accessions
    assert set(divided.names) == {"select", "report"}
    assert sides_of_families(divided.names) == [1] * N_FAMILIES
    assert "none in both splits" in divided.how
