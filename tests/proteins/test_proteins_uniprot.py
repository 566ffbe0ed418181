"""UniProt tables as typed frames."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from plmsae.core.errors import InputError
from plmsae.proteins.uniprot import FEATURE_COLUMNS, parse_features, read_table

HEADER = (
    "Entry\tReviewed\tProtein names\tOrganism\tOrganism (ID)\tLength\tSequence\tBinding site"
    "\tDomain [FT]\tGene Ontology (GO)\tEC number\tKeywords\tCluster ID"
)
ROW = (
    'P1\treviewed\tKinase\tYeast\t559292\t4\tMKLV\tBINDING 2; /ligand="ATP"\t'
    "\tnucleus [GO:0005634]; ATP binding [GO:0005524]\t2.7.11.1; 3.6.-.-; 3.4.21.n2\tKinase\tU50_1"
)


def table(folder: Path, *lines: str) -> Path:
    path = folder / "t.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_are_typed_and_features_stay_raw(tmp_path):
    frame = read_table(table(tmp_path, HEADER, ROW))
    assert frame.columns[:9] == [
        *("accession", "sequence", "length", "name", "organism"),
        *("organism_id", "go", "ec", "cluster"),
    ]
    row = frame.row(0, named=True)
    assert row == {
        "accession": "P1",
        "sequence": "MKLV",
        "length": 4,
        "name": "Kinase",
        "organism": "Yeast",
        "organism_id": 559292,
        "go": ["GO:0005524", "GO:0005634"],
        "ec": ["2.7.11.1", "3.6.-.-", "3.4.21.n2"],
        "cluster": "U50_1",
        "Reviewed": "reviewed",
        "Binding site": 'BINDING 2; /ligand="ATP"',
        "Domain [FT]": None,
        "Keywords": "Kinase",
    }


def test_two_columns_are_enough_and_letter_case_of_headers_is_free(tmp_path):
    lines = ("SEQUENCE\tentry\tactive SITE\tprotein Families", "mkl*\tP1\tACT_SITE 2\tX family")
    frame = read_table(table(tmp_path, *lines))
    assert frame.row(0, named=True) == {
        "accession": "P1",
        "sequence": "MKL",
        "length": 3,
        "name": "",
        "organism": None,
        "organism_id": None,
        "go": [],
        "ec": [],
        "cluster": None,
        "Active site": "ACT_SITE 2",
        "Protein families": "X family",
    }


@pytest.mark.parametrize(
    ("lines", "line", "what"),
    [
        (("Entry\tLength", "P1\t4"), 1, "no column 'Sequence'"),
        (("Entry\tSequence", "P1\tMK", "P2"), 3, "the row has 1 cells, the header has 2"),
        (("Entry\tSequence", "P1\tMK", "P2\tMK\t"), 3, "the row has 3 cells, the header has 2"),
        (("Entry\tSequence\tLength", "P1\tMK\tx"), 2, "the length is not a whole number"),
        (("Entry\tSequence\tLength", "P1\tMK\t9"), 2, "the length column says 9"),
        (("Entry\tSequence\tOrganism (ID)", "P1\tMK\tyeast"), 2, "organism id is not a whole"),
        (("Entry\tSequence",), None, "no rows"),
        ((">a", "MK"), None, "this is FASTA"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused(tmp_path, lines, line, what):
    with pytest.raises(InputError) as caught:
        read_table(table(tmp_path, *lines))
    assert what in caught.value.what
    assert caught.value.line == line
    assert "t.tsv" in str(caught.value)


def test_bad_sequences_are_left_out_with_a_warning_and_stop_under_strict(tmp_path, caplog):
    path = table(tmp_path, "Entry\tSequence", "P1\tMK", "P2\tM-", "P1\tKK", "P3\t", "P4\tML")
    frame = read_table(path)
    assert frame["accession"].to_list() == ["P1", "P4"]
    assert "3 of 5 rows are left out" in caplog.text
    assert "t.tsv, record 2, line 3" in caplog.text
    with pytest.raises(InputError, match=r"record 2 \(P2\), line 3: illegal character"):
        read_table(path, strict=True)


def test_a_header_that_is_one_of_ours_does_not_clash(tmp_path):
    frame = read_table(table(tmp_path, "Entry\tSequence\tgo", "P1\tMK\tx"))
    assert frame["go"].to_list() == [[]]
    assert frame["go (raw)"].to_list() == ["x"]


@pytest.mark.parametrize(
    ("name", "rows"), [("swissprot_yeast.tsv.gz", 6721), ("swissprot_bsubtilis.tsv.gz", 4191)]
)
def test_every_cell_of_the_real_tables_is_parsed(real_data, name, rows):
    frame = read_table(real_data / name, strict=True)
    assert frame.height == rows
    assert (frame["sequence"].str.len_chars().cast(pl.Int32) == frame["length"]).all()
    columns = [column for column in FEATURE_COLUMNS if column in frame.columns]
    assert len(columns) >= 25
    for column in columns:
        for cell in frame[column].drop_nulls():
            for feature in parse_features(cell, where=column):
                assert feature.key == FEATURE_COLUMNS[column]
