"""What homology alone says of a table's gaps."""

from __future__ import annotations

import random

import polars as pl

from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.scoring.backtest import backtest_homology, homology_totals
from plmsae.scoring.relatives import Relatives, bins_of, homology_support

LABELS = {"accession": pl.String, "start": pl.Int32, "end": pl.Int32, "concept": pl.String}


def table(n_families: int = 4, members: int = 3) -> pl.DataFrame:
    """Families of proteins of 120 residues at about 70 % identity, and one stranger."""
    rng = random.Random(0)
    rows = []
    for family in range(n_families):
        ancestor = rng.choices(AMINO_ACIDS, k=120)
        for member in range(members):
            child = [x if rng.random() < 0.8 else rng.choice(AMINO_ACIDS) for x in ancestor]
            rows.append((f"F{family}M{member}", "".join(child)))
    rows.append(("S", "".join(rng.choices(AMINO_ACIDS, k=120))))
    return pl.DataFrame(rows, schema=["accession", "sequence"], orient="row")


def labels_of(*rows: tuple[str, int, int, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=LABELS, orient="row")


def test_a_proposal_is_supported_by_a_relative_with_the_label_in_the_same_place():
    relatives = Relatives(table(), method="kmer")
    labels = labels_of(
        ("F0M1", 20, 40, "Domain: SH3"), ("F1M1", 20, 40, "Domain: SH3"), ("S", 1, 9, "Domain")
    )
    proposals = labels_of(
        ("F0M0", 25, 35, "Domain: SH3"),  # a relative has it there
        ("F0M0", 60, 90, "Domain: SH3"),  # elsewhere
        ("F0M2", 21, 38, "Domain"),  # the relative's is one of the class
        ("F0M0", 25, 35, "Motif"),  # another concept
        ("F2M0", 25, 35, "Domain: SH3"),  # another family
        ("S", 1, 9, "Domain"),  # only its own label
    )
    found = homology_support(proposals, relatives, labels, whole=False)
    assert found["homologue"].to_list() == ["F0M1", None, "F0M1", None, None, None]
    assert 0.5 < found["homologue_identity"][0] < 0.9
    assert found["homologue_identity"].null_count() == 4
    some = Relatives(table(), of=["F0M0", "F0M2", "F2M0", "S"], method="kmer")
    assert homology_support(proposals, some, labels, whole=False)["homologue"].equals(
        found["homologue"]
    )
    nobody = Relatives(table(), of=[], method="kmer")
    assert homology_support(proposals[:0], nobody, labels, whole=False).height == 0


def test_labels_of_whole_proteins_are_supported_without_alignment():
    relatives = Relatives(table(), method="kmer")
    labels = labels_of(("F0M1", 1, 120, "GO:1"))
    proposals = labels_of(("F0M0", 1, 120, "GO:1"), ("F1M0", 1, 120, "GO:1"))
    found = homology_support(proposals, relatives, labels, whole=True)
    assert found["homologue"].to_list() == ["F0M1", None]


def test_the_best_hit_brings_back_labels_hidden_one_by_one_and_not_by_family():
    proteins = table(n_families=20, members=4)
    accessions = [a for a in proteins["accession"] if a != "S"]
    labels = labels_of(*((a, 20, 40, "Domain") for a in accessions))
    concepts = pl.DataFrame({"concept": ["Domain"]})
    clusters = {a: int(a[1:].split("M")[0]) for a in accessions} | {"S": 99}
    relatives = Relatives(proteins, method="kmer")
    measured = backtest_homology(relatives, labels, concepts, clusters, hide_share=0.25)
    one, family = (
        measured.filter(hiding=way, bin="all").row(0, named=True) for way in ("random", "cluster")
    )
    assert one["hidden"] >= 15
    assert one["recovered"] >= 0.9 * one["hidden"]
    assert one["correct"] == one["proposed"]
    assert family["hidden"] >= 12
    assert family["recovered"] == 0
    # Bins are of the same labels.
    parts = measured.filter((pl.col("hiding") == "random") & (pl.col("bin") != "all"))
    assert parts["hidden"].sum() == one["hidden"]
    assert parts["proposed"].sum() == one["proposed"]
    totals = homology_totals(measured).filter(hiding="random", bin="all").row(0, named=True)
    assert (totals["recovered"], totals["precision"]) == (one["recovered"], 1.0)


def test_bins_are_those_of_accuracy_by_distance():
    found = bins_of({"a": 0.0, "b": 0.1, "c": 0.3, "d": 0.69, "e": 1.0})
    assert list(found.values()) == ["none", "0-30", "30-40", "50-70", "70-100"]
