import polars as pl
import pytest

from plmsae.concepts.enrichment.term_confirmation import Confirmation
from plmsae.concepts.enrichment.term_shares import (
    best_terms,
    class_table,
    process_classes,
    share_by_depth,
    share_by_information,
    tied_terms,
)
from plmsae.concepts.labels.protein_terms import gather_terms
from plmsae.core.errors import InputError
from plmsae.proteins.ontology import Ontology, Term

BP = "biological_process"


def ontology():
    """root ← metabolic ← sugar ← (part_of) step, and step is_a root too: the longest way counts."""
    return Ontology(
        [
            Term(id="GO:0000001", name="root", namespace=BP),
            Term(
                id="GO:0008152", name="metabolism", namespace=BP, is_a=("GO:0000001",),
                subsets=("goslim_generic",),
            ),
            Term(
                id="GO:0000003", name="sugar", namespace=BP, is_a=("GO:0008152",),
                alt_ids=("GO:0000033",), subsets=("goslim_generic",),
            ),
            Term(
                id="GO:0000004", name="step", namespace=BP, is_a=("GO:0000001",),
                part_of=("GO:0000003",),
            ),
            Term(
                id="GO:0000005", name="walk", namespace=BP, is_a=("GO:0000001",),
                subsets=("goslim_generic",),
            ),
            Term(id="GO:0000009", name="gone", namespace=BP, obsolete=True),
        ]
    )  # fmt: skip


def table(go, ec=None):
    n = len(go)
    return pl.DataFrame(
        {
            "accession": [f"P{i}" for i in range(n)],
            "go": go,
            "ec": ec or [[] for _ in range(n)],
            "organism": [None] * n,
        },
        schema_overrides={
            "go": pl.List(pl.String), "ec": pl.List(pl.String), "organism": pl.String,
        },
    )  # fmt: skip


GO = [["GO:0000004"], ["GO:0000033"], ["GO:0000005"], ["GO:0000005", "GO:0000009"], []]


def test_depth_and_information_are_those_counted_by_hand():
    found = gather_terms([table(GO, [["1.1.1.1"], [], [], [], ["1.2.-.-"]])], ontology())
    rows = {r["concept"]: (r["depth"], r["n_proteins"]) for r in found.descriptions.to_dicts()}
    assert rows == {
        "GO:0000001": (0, 4),
        "GO:0008152": (1, 2),
        "GO:0000003": (2, 2),
        "GO:0000004": (3, 1),
        "GO:0000005": (1, 2),
        "EC:1": (1, 2),
        "EC:1.1": (2, 1),
        "EC:1.1.1": (3, 1),
        "EC:1.1.1.1": (4, 1),
        "EC:1.2": (2, 1),
    }
    bits = dict(found.descriptions.select("concept", "information").iter_rows())
    # Four proteins have a process, two an enzyme number: the fifth is no background for processes.
    assert [bits[f"GO:000000{i}"] for i in (1, 3, 4)] == [0, 1, 2]
    assert (bits["EC:1"], bits["EC:1.1"]) == (0, 1)
    assert found.notes == ("1 obsolete GO terms without a replacement are left out",)


def test_terms_that_the_ontology_lacks_are_kept_as_listed_and_said():
    found = gather_terms([table([["GO:0000004", "GO:7777777"], ["GO:7777777"]])], ontology())
    (row,) = found.descriptions.filter(pl.col("concept") == "GO:7777777").to_dicts()
    assert (row["namespace"], row["depth"], row["name"], row["n_proteins"]) == ("go", None, None, 2)
    assert found.notes[0].startswith("1 of 2 GO terms (67% of the annotations) are not in")


def test_without_an_ontology_terms_stand_as_listed():
    found = gather_terms([table(GO)])
    assert set(found.descriptions["namespace"]) == {"go"}
    assert found.descriptions["depth"].null_count() == found.descriptions.height
    assert "no ancestors" in found.notes[0]


def test_a_table_without_terms_is_refused_in_one_line():
    with pytest.raises(InputError, match="no GO terms for the ontology to place"):
        gather_terms([table([[], []])], ontology(), ontology_name="go.obo")
    with pytest.raises(InputError, match="says nothing of a protein as a whole"):
        gather_terms([table([[], []])])
    with pytest.raises(InputError, match=r"go.obo: the ontology knows none of the 1 GO terms"):
        gather_terms([table([["GO:1111111"]])], ontology(), ontology_name="go.obo")


def test_a_process_is_metabolic_by_ancestry_and_unknown_in_a_slim_cut_off_above():
    assert process_classes(ontology()) == {
        "GO:0008152": True,
        "GO:0000003": True,
        "GO:0000005": False,
    }
    cut = Ontology([Term(id="GO:0000003", name="sugar", namespace=BP, is_a=("GO:0008152",))])
    assert process_classes(cut) == {"GO:0000003": None}
    assert process_classes(None) == {}


def found_pairs(pairs):
    frame = pl.DataFrame(
        [(latent, concept, BP, p, sure) for latent, concept, p, sure in pairs],
        schema={
            "latent": pl.Int32, "concept": pl.String, "namespace": pl.String,
            "log10_p_select": pl.Float64, "confirmed": pl.Boolean,
        },
        orient="row",
    )  # fmt: skip
    return Confirmation(pairs=frame, n_units=10, n_live=4)


def test_shares_are_of_live_latents_and_of_confirmed_pairs_only():
    known = gather_terms([table(GO)], ontology()).descriptions
    found = found_pairs(
        [
            (0, "GO:0000004", -9.0, True),
            (0, "GO:0000003", -5.0, True),
            (1, "GO:0000003", -4.0, True),
            (2, "GO:0000005", -8.0, False),
        ]
    )
    tied = tied_terms(found, known)
    assert best_terms(tied)["concept"].to_list() == ["GO:0000004", "GO:0000003"]
    depths = share_by_depth("sae", found, tied, known).filter(pl.col("namespace") == "GO")
    assert depths.select("depth", "n_tested", "n_terms", "n_latents", "share").rows() == [
        (0, 1, 0, 0, 0.0),
        (1, 2, 0, 0, 0.0),
        (2, 1, 1, 2, 0.5),
        (3, 1, 1, 1, 0.25),
    ]
    bits = share_by_information("sae", found, tied, known)
    assert bits.select("bits", "share").rows() == [(0, 0.5), (1, 0.5), (2, 0.25)]
    classes = class_table(found, tied, ontology())
    # The deep term counts for every class above it.
    assert classes.select("concept", "metabolic", "n_latents").rows() == [
        ("GO:0000003", True, 2),
        ("GO:0008152", True, 2),
    ]
