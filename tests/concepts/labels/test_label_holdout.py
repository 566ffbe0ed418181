import polars as pl
import pytest
from conftest_concepts import label_table, make_world
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.concepts.labels.label_holdout import class_of, hide_labels
from plmsae.core.errors import InputError


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


@pytest.mark.parametrize("clusters", [None, {f"P{i}": i // 3 for i in range(60)}])
def test_a_label_is_hidden_with_its_class_or_not_at_all(clusters):
    rows = []
    for i in range(60):
        rows += [(f"P{i}", 1, 9, "Domain: A", "span"), (f"P{i}", 1, 9, "Domain", "span")]
        rows += [(f"P{i}", 1, 9, "Helix", "span")]
    kept, hidden = hide_labels(label_table(rows), 0.3, 1, clusters)

    def places(frame, concept):
        return set(frame.filter(concept=concept)["accession"])

    assert places(hidden, "Domain") == places(hidden, "Domain: A") != places(hidden, "Helix")
    assert not places(kept, "Domain") & places(hidden, "Domain: A")
    assert 5 < len(places(hidden, "Domain")) < 35


@pytest.mark.parametrize(
    ("concept", "expected"),
    [
        ("Domain: SH3", "Domain"),
        ("Domain: SH3: deep", "Domain"),
        ("Domain", "Domain"),
        ("GO:0005634", "GO"),
        ("EC:2.7.-", "EC"),
        ("Keyword: GO:1", "Keyword"),
        ("GOLD: x", "GOLD"),
        ("ELM:LIG_1", "ELM:LIG_1"),
    ],
)
def test_a_class_is_what_stands_before_the_name_or_the_vocabulary_of_an_id(concept, expected):
    assert pl.select(class_of(pl.lit(concept))).item() == expected


def test_all_go_terms_of_a_protein_are_hidden_or_none():
    rows = [(f"P{i}", 1, 9, f"GO:000000{j}", "span") for i in range(40) for j in range(1 + i % 5)]
    rows += [(f"P{i}", 1, 9, c, "span") for i in range(40) for c in ("EC:1", "EC:1.2")]
    kept, hidden = hide_labels(label_table(rows), 0.3, 1)
    for class_name in ("GO", "EC"):
        kept_in, hidden_in = (
            set(frame.filter(class_of(pl.col("concept")) == class_name)["accession"])
            for frame in (kept, hidden)
        )
        assert not kept_in & hidden_in
        assert 4 < len(hidden_in) < 20


def test_the_share_of_each_class_is_met_in_the_mean():
    rows = [(f"P{i}", 1, 9, "Many", "span") for i in range(50)] + [("P0", 2, 3, "Rare", "span")]
    hidden = [hide_labels(label_table(rows), 0.2, seed)[1]["concept"] for seed in range(200)]
    many = [h.eq("Many").sum() for h in hidden]
    assert set(many) <= {10, 11}
    rare = sum(h.eq("Rare").sum() for h in hidden)
    assert 20 < rare < 60


def test_the_choice_is_the_seed_s_and_not_the_order_s():
    table = label_table([(f"P{i}", 1, 9, "Domain", "span") for i in range(40)])
    first = set(hide_labels(table, 0.4, 3)[1]["accession"])
    assert first == set(hide_labels(table.reverse(), 0.4, 3)[1]["accession"])
    assert first != set(hide_labels(table, 0.4, 4)[1]["accession"])


def test_labels_hidden_by_cluster_need_a_cluster_each():
    with pytest.raises(InputError, match="A: a labelled protein is in no homology cluster"):
        hide_labels(label_table([("A", 1, 2, "x", "span")]), 0.5, 0, {"B": 1})
    with pytest.raises(InputError, match="between 0 and 1"):
        hide_labels(label_table([("A", 1, 2, "x", "span")]), 1.5, 0)


def test_other_columns_are_kept():
    kept, hidden = hide_labels(label_table([("A", 1, 2, "x", "span")]), 0.5, 0)
    assert kept.columns == hidden.columns == ["accession", "start", "end", "concept", "kind"]
    assert pl.concat([kept, hidden]).height == 1
