"""Files joined from pieces of several systems: other line ends and byte order marks inside."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plmsae.core.errors import InputError
from plmsae.proteins.reading import count_proteins, read_proteins
from plmsae.proteins.records import Protein
from plmsae.proteins.stream import is_stream, need_file, unix_text
from plmsae.proteins.uniprot import read_table

MARK = b"\xef\xbb\xbf"
A, B, C = "MKLSTPPRQESWAFELSSK", "MMNTVYIPDRSWWLLAAKQ", "GGHHTTRRSSVVAALLIIF"


def read(path: Path, content: bytes) -> dict[str, str]:
    path.write_bytes(content)
    records = list(read_proteins(path, strict=True))
    assert count_proteins(path) == len(records)
    return {r.accession: r.sequence for r in records if isinstance(r, Protein)}


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\r\r\n", b"\n\r", b"\r\n\n"])
@pytest.mark.parametrize("around", [b"\n", b"\r\n"])
def test_a_block_with_other_line_ends_keeps_every_sequence_with_its_accession(
    tmp_path: Path, end: bytes, around: bytes
) -> None:
    first = around.join([b">first x", A.encode(), b""])
    block = end.join([b">Q1 d", B.encode(), b">Q2 d", C[:9].encode(), C[9:].encode(), b""])
    last = around.join([b">last", A[::-1].encode(), b""])
    found = read(tmp_path / "x.fasta", first + block + last)
    assert found == {"first": A, "Q1": B, "Q2": C, "last": A[::-1]}


@pytest.mark.parametrize("before", [b"", b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("marks", [MARK, MARK * 2])
def test_a_byte_order_mark_inside_costs_no_record(
    tmp_path: Path, before: bytes, marks: bytes
) -> None:
    first = marks + f">first\n{A}".encode() + before
    second = marks + f">second\n{B}\n".encode()
    assert read(tmp_path / "x.fasta", first + second) == {"first": A, "second": B}


def test_a_line_that_continues_a_sequence_may_carry_a_mark(tmp_path: Path) -> None:
    assert read(tmp_path / "x.fasta", b">a\nMKL\n" + MARK + b"VTA\n") == {"a": "MKLVTA"}


def test_a_table_with_carriage_returns_has_the_same_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes(f"Entry\tSequence\rP1\t{A}\r\nP2\t{B}\nP3\t{C}".encode())
    assert read_table(path)["sequence"].to_list() == [A, B, C]


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"A", MARK, b">", "é".encode()]), max_size=14),
    st.integers(1, 4),
)
def test_how_a_file_is_cut_into_chunks_changes_nothing(pieces: list[bytes], size: int) -> None:
    whole = b"".join(pieces)
    expected = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    expected = re.sub(rb"(?m)^(\xef\xbb\xbf)+", b"", expected)
    expected = re.sub(rb"(\xef\xbb\xbf)+>", b"\n>", expected)
    chunks = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert b"".join(unix_text(chunks)) == expected


XLSX = (
    b"PK\x03\x04" + b"\0" * 26 + b"[Content_Types].xmlPK\x03\x04" + b"\0" * 26 + b"xl/workbook.xml"
)


@pytest.mark.parametrize(
    ("content", "what", "to_do"),
    [
        (f">a\n{A}\n".encode("utf-16"), "UTF-16 text", "iconv"),
        (b"\xfe\xff" + f">a\n{A}\n".encode("utf-16-be"), "UTF-16 text", "UTF-8"),
        (f">a\n{A}\n".encode("utf-16-le"), "UTF-16 text", "UTF-8"),
        (gzip.compress(f">a\n{A}\n".encode("utf-16"), mtime=0), "UTF-16 text", "UTF-8"),
        (XLSX, "an Excel workbook", "tab-separated"),
        (gzip.compress(XLSX, mtime=0), "an Excel workbook", "tab-separated"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 40, "an old Excel", "tab-separated"),
        (b"{\\rtf1 >a MKL}", "an RTF document", "plain text"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 9\n",
            "a Git LFS pointer",
            "git lfs pull",
        ),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page", "download the file"),
        (b"<?xml version='1.0'?><Error/>", "an XML document", "download the file"),
    ],
)
def test_a_file_of_another_kind_is_named_with_what_to_do(
    tmp_path: Path, content: bytes, what: str, to_do: str
) -> None:
    path = tmp_path / "x.fasta"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(read_proteins(path))
    assert what in str(caught.value)
    assert to_do in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pipe_is_known_as_one_and_refused_where_a_file_is_needed(tmp_path: Path) -> None:
    import os

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "file").write_text("x")
    assert is_stream("-")
    assert is_stream(pipe)
    assert not is_stream(tmp_path / "file")
    assert not is_stream(tmp_path / "missing")
    assert count_proteins(pipe) is None  # and it does not wait for a writer
    with pytest.raises(InputError, match=r"read only once; .*; write it to a file first"):
        need_file(pipe, why="it is read twice")
    need_file(tmp_path / "file", why="it is read twice")
