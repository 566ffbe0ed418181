"""How many homologous pairs a split parts."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.proteins.leak import Leak, measure_leak, search_exhaustively
from plmsae.proteins.search import search
from plmsae.proteins.splits import cluster, split


def families(n: int = 12, members: int = 3) -> list[str]:
    rng = random.Random(0)
    found = []
    for _ in range(n):
        ancestor = rng.choices(AMINO_ACIDS, k=150)
        for _ in range(members):
            child = [x if rng.random() < 0.7 else rng.choice(AMINO_ACIDS) for x in ancestor]
            found.append("".join(child))
    return found


@pytest.mark.parametrize("made_by", [None, "mmseqs", "kmer"])
def test_pairs_are_counted_once_and_those_across_by_their_sides(made_by):
    sequences = families()
    sides = np.arange(36) // 3 % 2  # whole families
    leak = measure_leak(sequences, sides, made_by=made_by)
    assert (leak.n_pairs, leak.n_across, leak.share) == (36, 0, 0.0)
    sides[[0, 4]] = 1 - sides[[0, 4]]  # each is parted from two relatives
    leak = measure_leak(sequences, sides, made_by=made_by)
    assert (leak.n_pairs, leak.n_across) == (36, 4)
    assert ("exhaustive" in leak.judge) == (made_by == "kmer")


def test_a_sample_is_aligned_with_all_and_the_whole_search_agrees():
    sequences = families()
    hits, n = search_exhaustively(sequences)
    assert n == 36
    fast = search(sequences, method="kmer")
    pairs = [set(zip(np.minimum(h.query, h.target).tolist(),
                     np.maximum(h.query, h.target).tolist(), strict=True))
             for h in (hits, fast)]  # fmt: skip
    assert pairs[0] == pairs[1]
    hits, n = search_exhaustively(sequences, cells=10 * 150 * 36 * 150)
    assert n == 10
    assert 10 <= len(hits) <= 20


def test_what_promotion_tests_is_there_only_where_homologues_are_kept_apart():
    leak = Leak(n_pairs=200, n_across=8, judge="x")
    metrics = leak.metrics()
    assert metrics["homology_leak"] == 0.04
    assert metrics["homology_leak_low"] == pytest.approx(0.0204, abs=1e-4)  # Wilson
    asked = Leak(n_pairs=200, n_across=8, judge="x", promised=False).metrics()
    assert "homology_leak_low" not in asked
    assert asked["homologous_pairs_across"] == 8
    none = Leak(n_pairs=0, n_across=0, judge="x")
    assert none.metrics() == {"homologous_pairs": 0.0, "homologous_pairs_across": 0.0}
    assert "no homologous pairs" in none.line()


@pytest.mark.slow
def test_less_than_half_a_percent_of_real_homologues_stand_on_both_sides(real_data, monkeypatch):
    from plmsae.proteins.uniprot import read_table

    if shutil.which("mmseqs") is None:
        pytest.skip("mmseqs is not on the PATH: it makes the clusters, or judges them")
    sequences = []
    for name in ("yeast", "bsubtilis"):
        table = read_table(Path(real_data) / f"swissprot_{name}.tsv.gz")
        sequences += table.sample(1600, seed=0)["sequence"].to_list()
    clusters, pairs = {}, {}
    for method in ("kmer", "mmseqs"):
        hits = search(sequences, method=method)
        # The same search would be made again.
        monkeypatch.setattr("plmsae.proteins.splits.search", lambda *_, hits=hits, **__: hits)
        clusters[method] = cluster(sequences, method=method)
        pairs[method] = hits.take((hits.identity >= 0.3) & (hits.coverage >= 0.5))
    for maker, judge in (("kmer", "mmseqs"), ("mmseqs", "kmer")):
        found = pairs[judge]
        assert len(found) > 600
        across = []
        for seed in range(5):
            sides = split(clusters[maker], (0.5, 0.5), seed)
            across.append(np.mean(sides[found.query] != sides[found.target]))
            assert np.mean(sides) == pytest.approx(0.5, abs=0.01)
        assert np.mean(across) < 0.005
