import numpy as np
import polars as pl
import pytest
from conftest_concepts import label_table, make_world
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from plmsae.concepts.proposals import PROPOSAL_COLUMNS, hide_labels, propose, score_backtest
from plmsae.concepts.residue_labels import build_residue_labels
from plmsae.errors import InputError

ANNOTATOR = pl.DataFrame(
    {
        "concept": ["helix", "mute"],
        "kind": ["span", "span"],
        "latent": [0, 0],
        "threshold": [0.5, 0.1],
        "min_length": [3, 1],
        "max_gap": [1, 0],
        "call_precision": [0.97, 0.5],
        "call_precision_low": [0.93, 0.2],
        "abstains": [None, "the precision does not hold on report proteins"],
    }
)


def case():
    """A and B carry a labelled helix, C an unlabelled one like A's, D nothing."""
    dense = np.zeros((4, 20, 3), dtype=np.float32)
    for p in range(3):
        dense[p, 4:10, 0] = 0.9
    dense[[0, 2], 4:10, 1] = 0.8  # A and C share a second latent
    rows = [("A", 5, 10, "helix", "span"), ("B", 5, 10, "helix", "span"),
            ("A", 1, 2, "mute", "span")]  # fmt: skip
    labels = build_residue_labels(label_table(rows), list("ABCD"), [20] * 4)
    sequences = ["ACDEFGHIKLMNPQRSTVWY"] * 4
    return [csr_array(d) for d in dense], sequences, labels


def test_what_the_table_lacks_is_proposed_with_its_reasons():
    latents, sequences, labels = case()
    frame = propose(latents, sequences, labels, ANNOTATOR, [1.0, 1.0, 1.0])
    assert tuple(frame.columns) == PROPOSAL_COLUMNS
    assert frame.height == 1
    row = frame.row(0, named=True)
    assert (row["accession"], row["start"], row["end"], row["concept"]) == ("C", 5, 10, "helix")
    assert row["residues"] == "FGHIKL"
    assert row["call_precision_low"] == 0.93
    assert row["similar"] == ["A:5-10", "B:5-10"]
    assert row["similarity"][0] == pytest.approx(1)
    assert row["similarity"][1] < 0.8


def test_nothing_is_proposed_that_the_table_has_and_no_concept_that_abstains():
    latents, sequences, labels = case()
    frame = propose(latents, sequences, labels, ANNOTATOR, [1.0, 1.0, 1.0])
    assert "mute" not in frame["concept"]
    assert not {"A", "B"} & set(frame["accession"])


@given(seed=st.integers(0, 10**6), by_cluster=st.booleans())
@settings(max_examples=25, deadline=None)
def test_hidden_and_kept_labels_are_the_table(seed, by_cluster):
    table = make_world(seed).table
    clusters = {f"P{i}": i // 2 for i in range(5)} if by_cluster else None
    kept, hidden = hide_labels(table, 0.5, seed, clusters)
    assert sorted(kept.rows() + hidden.rows()) == sorted(table.unique().rows())
    if by_cluster:

        def families(frame):
            return {(row[3], clusters[row[0]]) for row in frame.iter_rows()}

        assert not families(kept) & families(hidden)


def test_labels_hidden_by_cluster_need_a_cluster_each():
    with pytest.raises(InputError, match="A: a labelled protein is in no homology cluster"):
        hide_labels(label_table([("A", 1, 2, "x", "span")]), 0.5, 0, {"B": 1})
    with pytest.raises(InputError, match="between 0 and 1"):
        hide_labels(label_table([("A", 1, 2, "x", "span")]), 1.5, 0)


def test_the_backtest_counts_what_comes_back():
    latents, sequences, labels = case()
    proposals = propose(latents, sequences, labels, ANNOTATOR, [1.0, 1.0, 1.0])
    wrong = proposals.with_columns(pl.lit("D").alias("accession"))
    other = proposals.with_columns(pl.lit("never hidden").alias("concept"))
    hidden = label_table([("C", 4, 11, "helix", "span"), ("D", 18, 20, "helix", "span"),
                          ("D", 1, 3, "site", "site")])  # fmt: skip
    table = score_backtest(pl.concat([proposals, wrong, other]), hidden, list("ABCD"), [20] * 4)
    rows = {row["concept"]: row for row in table.rows(named=True)}
    helix = rows["helix"]
    assert (helix["n_hidden"], helix["n_found"], helix["recall"]) == (2, 1, 0.5)
    assert (helix["n_proposals"], helix["n_right"], helix["precision"]) == (2, 1, 0.5)
    assert 0 < helix["precision_low"] < 0.5 < helix["precision_high"] < 1
    assert rows["site"]["precision"] is None
    assert rows["site"]["recall"] == 0
    assert rows["never hidden"]["precision"] == 0
    assert rows["never hidden"]["recall"] is None
