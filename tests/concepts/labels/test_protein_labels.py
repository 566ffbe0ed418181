"""What is said of proteins as a whole."""

from __future__ import annotations

import polars as pl

from plmsae.concepts.labels.protein_labels import PROTEIN_CONCEPT_SCHEMA, protein_concepts
from plmsae.proteins.ontology import Ontology, Term, read_obo
from plmsae.proteins.uniprot import read_table

ONTOLOGY = Ontology(
    [
        Term(id="GO:1", namespace="cellular_component"),
        Term(id="GO:2", namespace="cellular_component", is_a=("GO:1",), alt_ids=("GO:22",)),
        Term(id="GO:3", namespace="molecular_function", part_of=("GO:2",)),
        Term(id="GO:4", obsolete=True),
    ]
)


def concepts(ontology: Ontology | None = None, **columns: object) -> set[tuple[str, str]]:
    row = {"accession": "P1", "go": [], "ec": [], "organism": None} | columns
    schema = {"go": pl.List(pl.String), "ec": pl.List(pl.String), "organism": pl.String}
    frame = protein_concepts(pl.DataFrame([row], schema_overrides=schema), ontology)
    assert frame.schema == PROTEIN_CONCEPT_SCHEMA
    assert frame.is_unique().all()
    return set(frame.select("concept", "namespace").iter_rows())


def test_go_terms_bring_their_ancestors_and_namespaces():
    assert concepts(ONTOLOGY, go=["GO:3", "GO:22", "GO:4", "GO:99"]) == {
        ("GO:3", "molecular_function"),
        ("GO:2", "cellular_component"),
        ("GO:1", "cellular_component"),
    }


def test_without_an_ontology_go_terms_stand_as_they_are():
    assert concepts(go=["GO:3", "GO:99"]) == {("GO:3", "go"), ("GO:99", "go")}


def test_ec_numbers_count_at_each_known_level():
    assert concepts(ec=["2.7.11.1", "2.7.-.-"]) == {
        ("EC:2", "ec"),
        ("EC:2.7", "ec"),
        ("EC:2.7.11", "ec"),
        ("EC:2.7.11.1", "ec"),
    }


def test_keywords_families_cofactors_places_and_organisms_are_read():
    found = concepts(
        **{
            "Keywords": "ATP-binding;Kinase",
            "Protein families": "Kinase superfamily, Ser/Thr protein kinase family; X family",
            "Cofactor": "COFACTOR: Name=Mg(2+); Xref=ChEBI:CHEBI:18420; Evidence={ECO:1};",
            "Subcellular location [CC]": "SUBCELLULAR LOCATION: Cytoplasm {ECO:0000269|PubMed:1}. "
            "Nucleus, nucleolus {ECO:2}. Note=Moves. And so on.",
            "organism": "Yeast",
        }
    )
    assert found == {
        ("Keyword: ATP-binding", "keyword"),
        ("Keyword: Kinase", "keyword"),
        ("Family: Kinase superfamily", "family"),
        ("Family: Ser/Thr protein kinase family", "family"),
        ("Family: X family", "family"),
        ("Cofactor: Mg(2+)", "cofactor"),
        ("Location: Cytoplasm", "location"),
        ("Location: Nucleus", "location"),
        ("Location: Nucleus, nucleolus", "location"),
        ("Organism: Yeast", "organism"),
    }


def test_places_after_the_note_of_an_earlier_isoform_are_read():
    cell = (
        "SUBCELLULAR LOCATION: [Isoform 1]: Nucleus {ECO:1}. Note=Shuttles.; SUBCELLULAR LOCATION: "
        "[Isoform 2]: Cytoplasm, cytosol {ECO:2}. Cell membrane; Lipid-anchor. Note=Not elsewhere."
    )
    assert {name for name, _ in concepts(**{"Subcellular location [CC]": cell})} == {
        "Location: Nucleus",
        "Location: Cytoplasm",
        "Location: Cytoplasm, cytosol",
        "Location: Cell membrane",
        "Location: Lipid-anchor",
    }


def test_every_go_term_of_the_real_table_is_closed_under_ancestors(real_data):
    table = read_table(real_data / "swissprot_yeast.tsv.gz")
    ontology = read_obo(real_data / "goslim_generic.obo")
    found = protein_concepts(table, ontology).filter(pl.col("concept").str.starts_with("GO:"))
    assert set(found["namespace"]) == {
        "biological_process",
        "cellular_component",
        "molecular_function",
    }
    for terms in found.group_by("accession").agg("concept")["concept"]:
        assert all(ontology.ancestors(term) <= set(terms) for term in terms)
