"""Tables that people make by hand, and exports that other programs changed."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl
import pytest

from plmsae.concepts.labels.label_table import labels_from_uniprot, read_labels
from plmsae.concepts.labels.missing_labels import read_missing_shares
from plmsae.core.errors import InputError
from plmsae.proteins.uniprot import read_table
from plmsae.workflows.shared.inputs import has_sequences

SEQUENCE = "MKLSTPPRQESWAFELSSKRQSSAEQETNNTKKGKSDLKTLGGKTTSG"
GOOD = "accession\tstart\tend\tconcept\nP1\t1\t20\tx\n"


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "more", ["\n", "\n\n\n", "\t\t\t\n", "  \t\t \t\n", "\t\t\t\n\nP1\t3\t9\ty\n"]
)
def test_rows_without_content_are_left_out(tmp_path: Path, more: str) -> None:
    labels = read_labels(written(tmp_path / "x.tsv", GOOD + more))
    assert labels["concept"].to_list() == (["x", "y"] if "y" in more else ["x"])


@pytest.mark.parametrize("more", ["\n", ",,,\n", " , , , \n"])
def test_rows_without_content_are_left_out_of_csv_too(tmp_path: Path, more: str) -> None:
    text = GOOD.replace("\t", ",") + more
    assert read_labels(written(tmp_path / "x.csv", text)).height == 1


def test_a_bad_value_after_blank_lines_has_its_own_line(tmp_path: Path) -> None:
    path = written(tmp_path / "x.tsv", "\n" + GOOD + "\n\t\t\t\nP1\tthree\t9\ty\n")
    with pytest.raises(InputError, match=r"line 6: start is not a whole number \(found 'three'\)"):
        read_labels(path)


def test_line_ends_marks_and_headers_of_other_programs_are_read(tmp_path: Path) -> None:
    text = "\ufeff Accession\tSTART\tEnd \tConcept\rP1\t1\t20\tx\r\nP2\t3\t3\ty\r"
    assert read_labels(written(tmp_path / "x.tsv", text)).height == 2


def test_a_column_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    text = "accession\tstart\tend\tconcept\tEnd\nP1\t1\t20\tx\t9\n"
    with pytest.raises(InputError, match="a column occurs twice"):
        read_labels(written(tmp_path / "x.tsv", text))


def test_missing_shares_are_read_by_the_same_reader(tmp_path: Path) -> None:
    text = "Concept\tmissing_share \r\nDomain\t0.2\r\n\t\r\n\r\nHelix\t0\r\n"
    assert read_missing_shares(written(tmp_path / "x.tsv", text)) == {"Domain": 0.2, "Helix": 0.0}
    with pytest.raises(InputError, match="line 4: a missing share"):
        read_missing_shares(written(tmp_path / "x.tsv", "concept\tmissing_share\nA\t1\n\nB\t2\n"))


def uniprot(path: Path, header: str, *cells: str) -> Path:
    rows = "".join(f"P{i}\t{SEQUENCE}\t{cell}\n" for i, cell in enumerate(cells, 1))
    return written(path, f"Entry\tSequence\t{header}\n{rows}")


@pytest.mark.parametrize("header", ["Entry\tSequence", "entry\tsequence", "ENTRY\tSEQUENCE "])
def test_a_uniprot_table_is_told_from_a_label_table_whatever_its_case(
    tmp_path: Path, header: str
) -> None:
    assert has_sequences(str(written(tmp_path / "x.tsv", f"{header}\nP1\tMKL\n")))
    assert not has_sequences(str(written(tmp_path / "y.tsv", GOOD)))
    frame = pl.DataFrame({"accession": ["P1"], "start": [1], "end": [2], "concept": ["x"]})
    frame.write_parquet(tmp_path / "z.parquet")
    assert not has_sequences(str(tmp_path / "z.parquet"))


@pytest.mark.parametrize(
    "cell",
    [
        "DOMAIN 10 40 SH3. {ECO:0000255|PROSITE-ProRule:PRU00192}.",
        "ACT_SITE 35 35 Proton acceptor. {ECO:0000250}.",
        "DISULFID 3 30 ; DISULFID 5 20 .",
        "DOMAIN <1 30",
    ],
)
def test_features_of_before_2019_are_named_as_such_with_file_and_line(
    tmp_path: Path, cell: str
) -> None:
    path = uniprot(tmp_path / "old.tsv", "Domain [FT]", "", cell)
    with pytest.raises(InputError, match="before 2019") as caught:
        read_table(path)
    assert caught.value.where == str(path)
    assert caught.value.line == 3
    assert caught.value.record == "P2, column 'Domain [FT]'"
    assert "export the table again" in str(caught.value)


def test_any_cell_that_begins_like_no_feature_has_file_and_line(tmp_path: Path) -> None:
    path = uniprot(tmp_path / "odd.tsv", "Binding site", "binds ATP")
    with pytest.raises(InputError, match=r"odd.tsv, P1, column 'Binding site', line 2"):
        read_table(path)


def test_cells_quoted_by_a_spreadsheet_mean_the_same(tmp_path: Path) -> None:
    cell = 'BINDING 12..30; /ligand="poly(A), ""x"""; /note="a"'
    quoted = '"' + cell.replace('"', '""') + '"'
    plain = labels_from_uniprot(read_table(uniprot(tmp_path / "a.tsv", "Binding site", cell)))
    other = labels_from_uniprot(read_table(uniprot(tmp_path / "b.tsv", "Binding site", quoted)))
    assert plain.height == 2
    assert other.equals(plain)


def test_a_name_that_only_begins_with_a_quote_keeps_it(tmp_path: Path) -> None:
    table = read_table(uniprot(tmp_path / "x.tsv", "Organism", '"Candidatus" x', '"a "b" c"'))
    assert table["organism"].to_list() == ['"Candidatus" x', '"a "b" c"']


def test_features_under_a_header_that_is_not_uniprots_are_refused(tmp_path: Path) -> None:
    path = uniprot(tmp_path / "x.tsv", "ft_binding", "", 'BINDING 3; /ligand="ATP"')
    with pytest.raises(InputError, match=r"'ft_binding' holds features \(BINDING\)") as caught:
        labels_from_uniprot(read_table(path))
    assert "call it 'Binding site'" in str(caught.value)


def test_other_columns_of_text_are_no_features(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = uniprot(tmp_path / "x.tsv", "Remarks", "SITE 2 protease homolog", "binds at 12..30")
    with caplog.at_level(logging.WARNING):
        assert labels_from_uniprot(read_table(path)).height == 0
