"""Who chooses and who reports."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.core.errors import InputError
from plmsae.workflows.evaluating.protein_split import choose_sides, divide, species_of
from plmsae.workflows.shared.requests import EvaluateRequest

YEAST = "Saccharomyces cerevisiae (strain ATCC 204508 / S288c) (Baker's yeast)"
OTHER_YEAST = "Saccharomyces cerevisiae (strain YJM789) (Baker's yeast)"
BACILLUS = "Bacillus subtilis (strain 168)"
COLI = "Escherichia coli (strain K12)"
SCHEMA = {
    "accession": pl.String,
    "sequence": pl.String,
    "cluster": pl.String,
    "organism": pl.String,
    "organism_id": pl.Int64,
}


def request(**changes):
    return EvaluateRequest(model="m", concepts="a.tsv", **changes)


def split_table(table, asked):
    return divide(choose_sides([table], asked), asked)


def split_tables(table, other, asked):
    return divide(choose_sides([table, other], asked), asked)


def table_of(organisms, *, ids=None, clusters=None):
    rng = random.Random(0)
    n = len(organisms)
    return pl.DataFrame(
        {
            "accession": [f"P{i}" for i in range(n)],
            "sequence": ["".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=60)) for _ in range(n)],
            "cluster": clusters or [None] * n,
            "organism": organisms,
            "organism_id": ids or [None] * n,
        },
        schema=SCHEMA,
    )


@given(
    members=st.lists(
        st.sampled_from([YEAST, OTHER_YEAST, BACILLUS, COLI, "Homo sapiens (Human)", None]),
        min_size=8,
        max_size=30,
    ),
    share=st.sampled_from([0.3, 0.5, 0.7]),
    seed=st.integers(0, 50),
)
@settings(max_examples=40, deadline=None)
def test_no_species_is_on_both_sides_of_a_split_by_organism(members, share, seed):
    table = table_of(members)
    species = [None if name is None else name.split(" (")[0] for name in members]
    if len(set(species) - {None}) < 2:
        return
    divided = split_table(table, request(split="organism", select_share=share, seed=seed))
    of = dict(zip(table["accession"], species, strict=True))
    sides = {name: set() for name in ("select", "report")}
    for accession, name in zip(divided.table["accession"], divided.names, strict=True):
        sides[name].add(of[accession])
    assert sides["select"]
    assert sides["report"]
    assert not sides["select"] & sides["report"]
    assert None not in sides["select"] | sides["report"]
    assert divided.table.height == sum(name is not None for name in species)
    select, report = (set(divided.clusters[divided.names == n]) for n in ("select", "report"))
    assert not select & report


def test_strains_are_one_species_and_a_taxon_number_finds_its_name():
    table = table_of(
        [YEAST, OTHER_YEAST, None, None, None, ""], ids=[559292, 307796, 559292, 9606, None, None]
    )
    yeast = "Saccharomyces cerevisiae"
    assert species_of(table).to_list() == [yeast, yeast, yeast, "taxon 9606", None, None]
    assert species_of(table.drop("organism", "organism_id")).null_count() == 6


def test_a_split_by_organism_is_told_in_words():
    divided = split_table(
        table_of([YEAST] * 5 + [BACILLUS] * 4 + [None]), request(split="organism")
    )
    assert "Saccharomyces cerevisiae" in divided.how
    assert "Bacillus subtilis" in divided.how
    assert "homologues may be in both" in divided.how
    assert "1 proteins of no named organism left out" in divided.how
    many = [f"Species number{i}" for i in range(12)]
    assert "more" in split_table(table_of(many), request(split="organism")).how


def test_one_organism_cannot_be_split_by_organism():
    for table in (table_of([YEAST, OTHER_YEAST]), table_of([None, None])):
        with pytest.raises(InputError, match="cannot be split by organism"):
            split_table(table, request(split="organism"))


def test_it_is_said_whose_clusters_were_used(monkeypatch):
    monkeypatch.setattr("plmsae.proteins.search.shutil.which", lambda _: None)
    named = table_of([YEAST] * 6, clusters=[f"UniRef50_{i // 2}" for i in range(6)])
    assert split_table(named, request()).how.startswith("UniRef50 clusters of the table")
    own = named.with_columns(cluster=pl.lit("family") + pl.col("accession"))
    assert split_table(own, request()).how.startswith("the clusters of the table")
    found = split_table(table_of([YEAST] * 6), request()).how
    assert found.startswith("built-in clusters at 30% identity")
    # An identity that is asked for is what clusters are cut at, whatever the table names.
    asked = split_table(named, request(identity=0.4))
    assert asked.how.startswith("built-in clusters at 40% identity")
    assert len(set(asked.clusters)) == 6


def test_the_identity_decides_what_is_one_cluster(monkeypatch):
    monkeypatch.setattr("plmsae.proteins.search.shutil.which", lambda _: None)
    rng = random.Random(1)
    parent = "".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=200))
    child = "".join(c if rng.random() < 0.7 else "A" for c in parent)
    others = table_of([YEAST] * 4)["sequence"].to_list()
    table = table_of([YEAST] * 6).with_columns(
        sequence=pl.Series([parent, child, *others], dtype=pl.String)
    )
    loose, strict = (split_table(table, request(identity=at)).clusters for at in (0.5, 0.9))
    assert loose[0] == loose[1]
    assert strict[0] != strict[1]


def test_two_tables_are_two_sides():
    first = table_of([YEAST] * 3)
    second = table_of([BACILLUS] * 4).with_columns(accession=pl.lit("Q") + pl.col("accession"))
    divided = split_tables(first, second, request(report_on="dir/b.tsv"))
    assert divided.names.tolist() == ["select"] * 3 + ["report"] * 4
    assert divided.how.startswith("chosen on a.tsv, reported on b.tsv, homologues may be in both")
    assert len(np.unique(divided.clusters)) == 7
    with pytest.raises(InputError, match="in both tables"):
        split_tables(first, first, request(report_on="b.tsv"))


@pytest.mark.parametrize(
    "wrong", [{"split": "random"}, {"identity": 1.5}, {"select_share": 1.0}, {"select_share": 0.0}]
)
def test_settings_of_the_split_are_checked(wrong):
    with pytest.raises(InputError):
        request(**wrong)


@pytest.mark.parametrize("tables", [True, False])
def test_homologues_within_either_side_are_one_cluster(tables):
    # P0 and P1 are paralogues, so are P6 and P7; the families are on either side.
    names = [f"UniRef50_{number}" for number in (0, 0, 2, 3, 4, 5, 0, 0, 2, 3, 4, 5)]
    table = table_of([YEAST] * 6 + [BACILLUS] * 6, clusters=names)
    divided = (
        split_tables(table[:6], table[6:], request(report_on="b.tsv"))
        if tables
        else split_table(table, request(split="organism"))
    )
    of = dict(zip(divided.table["accession"], divided.clusters.tolist(), strict=True))
    assert of["P0"] == of["P1"]
    assert of["P6"] == of["P7"]
    assert len(set(of.values())) == 10
