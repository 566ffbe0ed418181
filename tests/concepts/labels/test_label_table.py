"""UniProt features, and anyone's tables, as residue labels."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.concepts.labels.label_table import (
    LABEL_SCHEMA,
    check_labels,
    concept_counts,
    filter_concepts,
    labels_from_uniprot,
    read_labels,
)
from plmsae.concepts.labels.names import CLASS_OF_KEY, SITE_KEYS, tidy_name
from plmsae.core.errors import InputError
from plmsae.proteins.uniprot import FEATURE_COLUMNS, read_table


def labels(**cells: str) -> list[tuple[int, int, str, str]]:
    """Labels of one protein of 100 residues; keyword ``Active_site`` is the column Active site."""
    odd = {"Domain": "Domain [FT]", "Cross_link": "Cross-link"}
    columns = {odd.get(name, name.replace("_", " ")): [cell] for name, cell in cells.items()}
    frame = labels_from_uniprot(pl.DataFrame({"accession": ["P1"], "length": [100], **columns}))
    assert frame.schema == LABEL_SCHEMA
    return [row[1:] for row in frame.iter_rows()]


def test_binding_sites_are_named_by_their_ligand_and_not_by_their_note():
    cell = 'BINDING 2..4; /ligand="ATP"; /note="via amide nitrogen"; BINDING 9; /note="x"'
    assert labels(Binding_site=cell) == [
        (2, 4, "Binding site", "site"),
        (2, 4, "Binding site: ATP", "site"),
        (9, 9, "Binding site", "site"),
    ]


def test_features_without_a_note_count():
    assert labels(Signal_peptide="SIGNAL 1..20", Active_site="ACT_SITE 5") == [
        (1, 20, "Signal peptide", "span"),
        (5, 5, "Active site", "site"),
    ]


def test_a_bond_labels_the_residues_at_its_ends_only():
    assert labels(Disulfide_bond='DISULFID 3..40; /note="Interchain (with C-34)"') == [
        (3, 3, "Disulfide bond", "site"),
        (3, 3, "Disulfide bond: Interchain", "site"),
        (40, 40, "Disulfide bond", "site"),
        (40, 40, "Disulfide bond: Interchain", "site"),
    ]
    assert labels(Disulfide_bond="DISULFID ?..40") == [(40, 40, "Disulfide bond", "site")]
    assert labels(Cross_link="CROSSLNK 7") == [(7, 7, "Cross-link", "site")]


def test_the_kind_follows_the_key_and_not_the_name():
    found = labels(
        Region='REGION 3..9; /note="Active site"', Modified_residue='MOD_RES 5; /note="Domain"'
    )
    assert {(concept, kind) for *_, concept, kind in found} == {
        ("Region", "span"),
        ("Region: Active site", "span"),
        ("Modified residue", "site"),
        ("Modified residue: Domain", "site"),
    }


def test_parent_classes_include_their_rare_members_and_overlaps_stay_apart():
    cell = 'DOMAIN 1..50; /note="SH3 1"; DOMAIN 20..60; /note="Rare"; DOMAIN 70..80; /note="SH3 2"'
    assert labels(Domain=cell) == [
        (1, 50, "Domain", "span"),
        (1, 50, "Domain: SH3", "span"),
        (20, 60, "Domain", "span"),
        (20, 60, "Domain: Rare", "span"),
        (70, 80, "Domain", "span"),
        (70, 80, "Domain: SH3", "span"),
    ]


def test_two_features_at_one_place_are_one_instance_of_their_class():
    cell = 'LIPID 24; /note="N-palmitoyl cysteine"; LIPID 24; /note="S-diacylglycerol cysteine"'
    assert [concept for *_, concept, _ in labels(Lipidation=cell)] == [
        "Lipidation",
        "Lipidation: N-palmitoyl cysteine",
        "Lipidation: S-diacylglycerol cysteine",
    ]


@pytest.mark.parametrize(
    ("cell", "places"),
    [
        ("SIGNAL <1..20", [(1, 20)]),
        ("SIGNAL 80..>100", [(80, 100)]),
        ("SIGNAL 1..?20", [(1, 20)]),
        ("SIGNAL 1..?", []),
        ("SIGNAL ?..20", []),
        ("SIGNAL ?", []),
        ("SIGNAL P1-2:1..20", []),
        ("SIGNAL P1-2:1..2000", []),
    ],
)
def test_fuzzy_ends_keep_their_number_and_unknown_ends_and_isoforms_are_skipped(cell, places):
    assert [row[:2] for row in labels(Signal_peptide=cell)] == places


@pytest.mark.parametrize("column", ["Signal peptide", "Binding site"])
def test_a_position_outside_the_sequence_is_refused_with_accession_and_column(column):
    key = FEATURE_COLUMNS[column]
    with pytest.raises(InputError, match=f"P1, column '{column}': position 101 lies outside"):
        labels(**{column.replace(" ", "_"): f"{key} 90..101"})


def test_a_cell_that_cannot_be_parsed_is_refused_with_accession_and_column():
    with pytest.raises(InputError, match="P1, column 'Active site'"):
        labels(Active_site="ACT_SITE five")


def test_binding_sites_of_a_cofactor_carry_its_name():
    found = labels(
        Binding_site='BINDING 5; /ligand="Zn(2+)"; BINDING 7; /ligand="ATP"',
        Cofactor="COFACTOR: Name=Zn(2+); Xref=ChEBI:CHEBI:29105; Evidence={ECO:0000255}; Note=One.",
    )
    assert [(start, concept) for start, _, concept, _ in found if "Cofactor" in concept] == [
        (5, "Cofactor"),
        (5, "Cofactor: Zn(2+)"),
    ]


def test_older_metal_columns_are_binding_sites():
    found = labels(
        Metal_binding='METAL 5; /note="Zinc; via tele nitrogen"',
        Calcium_binding='CA_BIND 7..9; /note="1"',
    )
    assert {concept for *_, concept, _ in found} == {
        "Binding site",
        "Binding site: Zinc",
        "Binding site: Ca(2+)",
    }


def test_columns_about_the_record_give_no_labels():
    assert labels(Chain="CHAIN 1..100", Natural_variant="VARIANT 5", Mutagenesis="MUTAGEN 5") == []
    assert set(CLASS_OF_KEY) >= SITE_KEYS


@pytest.mark.parametrize(
    ("note", "name"),
    [
        ("WD 3", "WD"),
        ("EF-hand 2", "EF-hand"),
        ("C4-type 1", "C4-type"),
        ("C2H2-type 3; atypical", "C2H2-type"),
        ("SH3", "SH3"),
        ("C2 1", "C2"),
        ("PTS EIIB type-1", "PTS EIIB type-1"),
        ("Glutamine amidotransferase type-1", "Glutamine amidotransferase type-1"),
        ("3", ""),
        ("1-2", ""),
        ("1; approximate", ""),
        ("Divalent metal cation 1", "Divalent metal cation"),
        ("[4Fe-4S] cluster 2", "[4Fe-4S] cluster"),
        ("Heme 1 (covalent)", "Heme"),
        ("Phosphoserine; by PKA", "Phosphoserine"),
        ("Interchain (with C-12 in GPI3); transient", "Interchain"),
        ("N-linked (GlcNAc...) asparagine", "N-linked (GlcNAc...) asparagine"),
        ("(Microbial infection) O-AMP-threonine", "O-AMP-threonine"),
        ("proton   donor", "Proton donor"),
        ("substrate", "Substrate"),
        ("tRNA ligand", "tRNA ligand"),
        ("mRNA-binding", "mRNA-binding"),
        ("4-aspartylphosphate", "4-aspartylphosphate"),
        ("a divalent metal cation", "a divalent metal cation"),
        ("glycerol 3-phosphate", "Glycerol 3-phosphate"),
        ("tr-type G", "tr-type G"),
        ("", ""),
    ],
)
def test_one_normalised_name_for_each_concept(note, name):
    assert tidy_name(note) == name
    assert tidy_name(name) == name


def test_another_cleavage_site_is_not_a_name():
    assert [c for *_, c, _ in labels(Signal_peptide='SIGNAL 1..20; /note="Or 17"')] == [
        "Signal peptide"
    ]


# --- plain tables ---


def table(folder: Path, text: str, name: str = "labels.tsv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


GOOD = "concept,Accession,END,start,score\nPF1,P1,20,10,x\n Disorder ,P1,5,5,y\n"


@pytest.mark.parametrize("form", ["csv", "tsv", "gz", "parquet"])
def test_a_plain_table_is_read_from_every_format(tmp_path, form):
    path = table(tmp_path, GOOD)
    if form == "tsv":
        table(tmp_path, GOOD.replace(",", "\t"))
    elif form == "gz":
        path.write_bytes(gzip.compress(GOOD.encode()))
    elif form == "parquet":
        pl.read_csv(path).write_parquet(path)
    frame = read_labels(path)
    assert frame.schema == LABEL_SCHEMA
    assert frame.rows() == [("P1", 5, 5, "Disorder", "site"), ("P1", 10, 20, "PF1", "span")]


def test_a_kind_column_is_kept(tmp_path):
    text = "accession\tstart\tend\tconcept\tkind\nP1\t3\t3\tA\tspan\nP1\t3\t9\tB\tSite\n"
    assert read_labels(table(tmp_path, text))["kind"].to_list() == ["span", "site"]


HEAD = "accession\tstart\tend\tconcept\n"


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("accession\tstart\tconcept\nP1\t1\tA\n", None, "no column 'end'"),
        (HEAD, None, "no rows"),
        (HEAD + "P1\t1\t2\tA\nP1\tx\t2\tA\n", 3, "start is not a whole number"),
        (HEAD + "P1\t1.5\t2\tA\n", 2, "start is not a whole number"),
        (HEAD + "P1\t1\t99999999999\tA\n", 2, "end is not a whole number"),
        (HEAD + "P1\t0\t2\tA\n", 2, "positions start at 1"),
        (HEAD + "P1\t5\t2\tA\n", 2, "end lies before start"),
        (HEAD + "P1\t1\t2\t \n", 2, "concept is empty"),
        (HEAD + "\t1\t2\tA\n", 2, "accession is empty"),
        (HEAD + "P1\t1\t2\tA\textra\n", None, "cannot be read"),
        (HEAD + "P1\t1\t2\n", 2, "concept is empty"),
        (HEAD.replace("\n", "\tkind\n") + "P1\t1\t2\tA\tpoint\n", 2, "kind is not site or span"),
        (
            HEAD.replace("\n", "\tkind\n") + "P1\t1\t2\tA\tsite\nP1\t1\t2\tA\tspan\n",
            None,
            "both site and span",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_its_line(tmp_path, text, line, what):
    with pytest.raises(InputError) as caught:
        read_labels(table(tmp_path, text))
    assert what in caught.value.what
    assert caught.value.line == line
    assert "labels.tsv" in str(caught.value)


def test_a_truncated_or_missing_table_is_refused(tmp_path):
    path = tmp_path / "l.tsv.gz"
    path.write_bytes(gzip.compress(GOOD.encode() * 100)[:-9])
    with pytest.raises(InputError, match="cut short"):
        read_labels(path)
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "none.tsv")


def test_labels_must_fit_the_proteins():
    frame = pl.DataFrame([("P1", 1, 9, "A", "span")], schema=LABEL_SCHEMA, orient="row")
    check_labels(frame, pl.DataFrame({"accession": ["P1"], "length": [9]}))
    with pytest.raises(InputError, match="P1, concept 'A': position 9 lies outside"):
        check_labels(frame, pl.DataFrame({"accession": ["P1"], "length": [8]}))
    with pytest.raises(InputError, match="x, P1: 1 accessions of the labels are not among"):
        check_labels(frame, pl.DataFrame({"accession": ["P2"], "length": [8]}), where="x")


# --- counts ---

rows = st.tuples(
    st.sampled_from(["P1", "P2", "P3"]),
    st.integers(1, 20),
    st.integers(0, 8),
    st.sampled_from("AB"),
)


@given(st.lists(rows, min_size=1, max_size=25, unique=True))
@settings(max_examples=100, deadline=None)
def test_counts_equal_plain_sets(found):
    frame = pl.DataFrame(
        [(a, start, start + extra, c, "span") for a, start, extra, c in found],
        schema=LABEL_SCHEMA,
        orient="row",
    )
    counts = {row["concept"]: row for row in concept_counts(frame).iter_rows(named=True)}
    for concept in {c for *_, c in found}:
        own = [(a, start, extra) for a, start, extra, c in found if c == concept]
        assert counts[concept] == {
            "concept": concept,
            "kind": "span",
            "n_residues": len({(a, p) for a, s, e in own for p in range(s, s + e + 1)}),
            "n_spans": len(own),
            "n_proteins": len({a for a, *_ in own}),
        }


def test_rare_concepts_are_filtered_by_each_count():
    frame = pl.DataFrame(
        [("P1", 1, 50, "long", "span"), ("P1", 1, 1, "x", "site"), ("P2", 3, 3, "x", "site")],
        schema=LABEL_SCHEMA,
        orient="row",
    )

    def kept(**limits: int) -> set[str]:
        return set(filter_concepts(frame, **limits)["concept"])

    assert kept() == {"long", "x"}
    assert kept(min_residues=3) == {"long"}
    assert kept(min_spans=2) == {"x"}
    assert kept(min_residues=3, min_spans=2) == set()


# --- real tables ---


def test_the_real_tables_give_their_known_concepts(real_data):
    counts = {}
    for name in ("yeast", "bsubtilis"):
        frame = read_table(real_data / f"swissprot_{name}.tsv.gz")
        found = labels_from_uniprot(frame)
        check_labels(found, frame)
        counts[name] = {row[0]: row[1:] for row in concept_counts(found).iter_rows()}
        # One spelling a concept, whatever the table.
        assert len({concept.casefold() for concept in counts[name]}) == len(counts[name])
        # No concept is empty.
        assert all(n_residues >= 1 for _, n_residues, *_ in counts[name].values())
    assert counts["yeast"]["Repeat: WD"][2:] == (671, 108)
    assert counts["yeast"]["Disulfide bond"][0] == "site"
    assert counts["bsubtilis"]["Signal peptide"][2] == 289
    assert counts["yeast"]["Transit peptide: Mitochondrion"][2] == 294
    shared = counts["yeast"].keys() & counts["bsubtilis"].keys()
    assert {"Domain: ABC transporter", "Binding site: ATP", "Repeat: TPR"} <= shared
    assert len(shared) > 250
