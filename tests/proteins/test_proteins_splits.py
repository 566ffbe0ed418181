"""Homology clusters and the splits made of them."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.core.errors import InputError
from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.proteins.blosum import BLOSUM62, LAMBDA, LETTERS
from plmsae.proteins.splits import cluster, cluster_table, split


def protein(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(AMINO_ACIDS, k=length))


def mutated(rng: random.Random, sequence: str, identity: float) -> str:
    return "".join(
        letter if rng.random() < identity else rng.choice(AMINO_ACIDS.replace(letter, ""))
        for letter in sequence
    )


def test_blosum62_is_symmetric_and_has_its_known_scale():
    assert (BLOSUM62 == BLOSUM62.T).all()
    # Robinson & Robinson (1991) frequencies: the sum of p p exp(lambda s) is 1 at the right lambda.
    share = dict(
        zip(
            "ARNDCQEGHILKMFPSTWYV",
            [
                *(7.805, 5.129, 4.487, 5.364, 1.925, 4.264, 6.295, 7.377, 2.199, 5.142),
                *(9.019, 5.744, 2.243, 3.856, 5.203, 7.120, 5.841, 1.330, 3.216, 6.441),
            ],
            strict=True,
        )
    )
    p = np.array([share[letter] for letter in LETTERS]) / 100
    total = (np.outer(p, p) * np.exp(LAMBDA * BLOSUM62)).sum()
    assert total == pytest.approx(1, abs=0.002)


def test_mutated_copies_land_together_and_strangers_do_not():
    rng = random.Random(2)
    sequences = []
    for _ in range(60):
        ancestor = protein(rng, rng.randint(120, 500))
        sequences += [ancestor, *(mutated(rng, ancestor, rng.uniform(0.6, 0.9)) for _ in range(2))]
    labels = cluster(sequences, method="kmer", evalue=1e-5)  # 180 times 1e-3 is no small chance
    assert labels.tolist() == [family for family in range(60) for _ in range(3)]


def test_a_shared_domain_is_found_behind_insertions_of_any_length():
    rng = random.Random(3)
    domain = protein(rng, 120)
    a = protein(rng, 300) + domain
    b = mutated(rng, domain, 0.7) + protein(rng, 90)
    assert cluster([a, b], method="kmer").tolist() == [0, 0]
    assert cluster([a, b], method="kmer", coverage=0.9).tolist() == [0, 1]


def test_low_complexity_does_not_join_strangers():
    rng = random.Random(4)
    a = protein(rng, 100) + "Q" * 60 + protein(rng, 100)
    b = protein(rng, 150) + "Q" * 60 + protein(rng, 50)
    c = protein(rng, 90) + "SP" * 40 + protein(rng, 90)
    d = protein(rng, 20) + "SP" * 40 + protein(rng, 90)
    assert cluster([a, b, c, d], method="kmer").tolist() == [0, 1, 2, 3]


def test_a_family_of_hundreds_stays_whole():
    rng = random.Random(6)
    ancestor = protein(rng, 120)
    family = [mutated(rng, ancestor, 0.85) for _ in range(150)]
    assert not cluster(family, method="kmer").any()


@pytest.mark.parametrize(
    "sequences", [[], ["M"], ["", ""], ["MK", "MK", "AC"], ["X" * 50] * 2, ["M" * 30, "A"]]
)
def test_odd_inputs_are_clustered_by_equality(sequences):
    labels = cluster(sequences, method="kmer")
    assert len(labels) == len(sequences)
    for i, a in enumerate(sequences):
        for j, b in enumerate(sequences):
            assert (labels[i] == labels[j]) == (a == b)


def test_shares_outside_0_to_1_are_refused():
    with pytest.raises(InputError, match="identity: a share must lie"):
        cluster(["MK"], identity=30)


def test_cluster_ids_of_a_table_come_first():
    table = pl.DataFrame({"cluster": ["b", "a", "b"], "sequence": ["MK", "MK", "AC"]})
    assert cluster_table(table).tolist() == [0, 1, 0]
    table = pl.DataFrame({"cluster": ["b", None, "b"], "sequence": ["MK", "MK", "AC"]})
    assert cluster_table(table, method="kmer").tolist() == [0, 0, 1]


# --- splits ---


@given(
    st.lists(st.integers(0, 30), min_size=40, max_size=200),
    st.sampled_from([(0.5, 0.5), (0.6, 0.2, 0.2), (0.4, 0.2, 0.2, 0.2)]),
    st.integers(0, 5),
)
@settings(max_examples=100, deadline=None)
def test_no_cluster_spans_two_splits(labels, fractions, seed):
    clusters = np.array(labels)
    try:
        parts = split(clusters, fractions, seed)
    except InputError:
        assert len(set(labels)) < 12  # only few, large clusters can fail to fill the splits
        return
    for number in set(labels):
        assert len(set(parts[clusters == number])) == 1
    assert np.array_equal(parts, split(clusters, fractions, seed))
    assert set(parts) == set(range(len(fractions)))


def test_shares_are_met_and_another_seed_gives_another_split():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(800), rng.geometric(0.3, 800))
    parts = split(clusters, {"fit": 0.6, "select": 0.2, "test": 0.2}, seed=1)
    assert np.bincount(parts) / len(parts) == pytest.approx([0.6, 0.2, 0.2], abs=0.002)
    assert not np.array_equal(parts, split(clusters, (0.6, 0.2, 0.2), seed=2))


def test_large_families_do_not_all_go_to_the_largest_split():
    clusters = np.repeat(np.arange(100), 20)
    parts = split(clusters, (0.8, 0.1, 0.1), seed=0)
    assert np.bincount(parts).tolist() == [1600, 200, 200]


@pytest.mark.parametrize("fractions", [(), (0.5, 0.4), (1.2, -0.2), (0.0, 1.0)])
def test_fractions_that_are_no_shares_are_refused(fractions):
    with pytest.raises(InputError, match="fractions must be positive and sum to 1"):
        split(np.arange(10), fractions, 0)


def test_too_few_clusters_are_refused():
    with pytest.raises(InputError, match="1 homology clusters cannot fill 2 splits"):
        split(np.zeros(10, int), (0.5, 0.5), 0)


def test_a_split_that_would_stay_empty_is_refused_by_name():
    with pytest.raises(InputError, match="the split test would be empty"):
        split(np.repeat([0, 1, 2], [100, 100, 100]), {"fit": 0.45, "select": 0.45, "test": 0.1}, 0)


def test_clusters_are_the_same_whatever_the_order():
    rng = random.Random(8)
    ancestors = [protein(rng, 200) for _ in range(8)]
    sequences = [mutated(rng, rng.choice(ancestors), 0.7) for _ in range(40)]
    order = rng.sample(range(40), 40)
    here = cluster(sequences, method="kmer")
    there = cluster([sequences[at] for at in order], method="kmer")
    together = here[order][:, None] == here[order][None, :]
    assert np.array_equal(together, there[:, None] == there[None, :])
