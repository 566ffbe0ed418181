"""Every kind of input, good or damaged, through the one door."""

from __future__ import annotations

import gzip
import io
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.core.errors import InputError
from plmsae.proteins.alphabet import PROTEIN_LETTERS, tidy
from plmsae.proteins.fasta import parse_header
from plmsae.proteins.reading import SeenAccessions, count_proteins, read_proteins
from plmsae.proteins.records import Protein, Rejected

FASTA = b">sp|P77551|RZPR_ECOLI Lysis protein\nMKLV\nTAAG\n>b\nACDE\n>c some text\nMMMM\n"
TABLE = b"Entry\tProtein names\tLength\tSequence\nP1\tFirst\t4\tMKLV\nP2\tSecond\t3\tACD\n"


def written(folder: Path, data: bytes, name: str = "in.txt") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def failure(folder: Path, data: bytes, **options: bool) -> InputError:
    """The error of reading `data`; its message is one line that names the file."""
    path = written(folder, data)
    with pytest.raises(InputError) as caught:
        list(read_proteins(path, **options))
    assert "in.txt" in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def proteins(found: list[Protein | Rejected]) -> list[tuple[str, str]]:
    return [(p.accession, p.sequence) for p in found if isinstance(p, Protein)]


@pytest.mark.parametrize("data", [FASTA, TABLE], ids=["fasta", "table"])
@pytest.mark.parametrize(
    "pack",
    [
        bytes,
        gzip.compress,
        zstandard.compress,
        lambda d: gzip.compress(d[:20]) + gzip.compress(d[20:]),
        lambda d: zstandard.compress(d[:20]) + zstandard.compress(d[20:]),
        lambda d: gzip.compress(d) + bytes(512),
        lambda d: b"\xef\xbb\xbf" + d,
        lambda d: b"\r\n \n" + d.replace(b"\n", b"\r\n"),
        lambda d: d.rstrip(b"\n"),
    ],
    ids=["plain", "gz", "zst", "two gz", "two zst", "padded gz", "bom", "crlf", "no last line end"],
)
def test_the_same_proteins_come_out_of_every_packing(tmp_path, data, pack):
    plain = proteins(list(read_proteins(written(tmp_path, data, "plain"))))
    # A wrong suffix must not matter: the content decides.
    path = written(tmp_path, pack(data), "packed.bz2")
    assert proteins(list(read_proteins(path))) == plain
    assert len(plain) == count_proteins(path)


def test_standard_input_is_read(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(gzip.compress(FASTA))))
    found = list(read_proteins("-"))
    assert len(proteins(found)) == 3
    assert found[0].where == "standard input, record 1, line 1"
    assert count_proteins("-") is None


def test_a_protein_carries_accession_description_and_place(tmp_path):
    first, _, third = read_proteins(written(tmp_path, FASTA, "p.fasta"))
    assert first == Protein(
        accession="P77551",
        sequence="MKLVTAAG",
        description="Lysis protein",
        where="p.fasta, record 1, line 1",
    )
    assert third.where == "p.fasta, record 3, line 6"


def test_a_table_row_carries_its_line(tmp_path):
    _, second = read_proteins(written(tmp_path, TABLE, "t.tsv"))
    assert second == Protein(
        accession="P2", sequence="ACD", description="Second", where="t.tsv, record 2, line 3"
    )


@pytest.mark.parametrize(
    ("header", "accession", "description"),
    [
        ("tr|A0A1|A0A1_YEAST Some protein", "A0A1", "Some protein"),
        ("sp|P12345-2|X_Y", "P12345-2", ""),
        ("gi|123|ref|NP_001.1| thing", "NP_001.1", "thing"),
        ("UniRef50_P12345 cluster", "UniRef50_P12345", "cluster"),
        ("jgi|Aspni|9", "jgi|Aspni|9", ""),
        ("a\tb c", "a", "b c"),
        ("", "", ""),
        ("sp||X", "sp||X", ""),
    ],
)
def test_headers_are_split_into_accession_and_description(header, accession, description):
    assert parse_header(header) == (accession, description)


def test_lower_case_is_raised_and_blanks_and_the_last_stop_go(tmp_path):
    path = written(tmp_path, b">a\nmk lv\n\n\tTA a*\n>b\nXBZUOJ\n")
    assert proteins(list(read_proteins(path))) == [("a", "MKLVTAA"), ("b", "XBZUOJ")]


def test_letters_outside_ascii_are_not_raised_into_legal_ones():
    assert tidy("mß") == "Mß"


# --- one bad record ---

BAD_RECORDS = {
    "illegal": (b">a\nMK\nLV\n>b\nACD\nE-F\n>c\nMM\n", "b", 6, "character '-' at position 5"),
    "inner stop": (b">a\nMK*L\n>c\nMM\n", "a", 2, "illegal character '*' at position 3"),
    "stops": (b">a\nMK*\nLV1\n>c\nMM\n", "a", 2, "illegal character '*' at position 3"),
    "later line": (b">a\nMK *\n*.\n>c\nMM\n", "a", 2, "illegal character '*' at position 3"),
    "digit": (b">a\nM1K\n>c\nMM\n", "a", 2, "illegal character '1' at position 2"),
    "dot": (b">a\r\nMK\r\nL.\r\n>c\r\nMM\r\n", "a", 3, "illegal character '.' at position 4"),
    "no sequence": (b">a\n>c\nMM\n", "a", 1, "a header without a sequence"),
    "blank sequence": (b">a\n \n*\n>c\nMM\n", "a", 1, "a header without a sequence"),
    "last without": (b">c\nMM\n>a", "a", 3, "a header without a sequence"),
    "no accession": (b">  \nMK\n>c\nMM\n", "", 1, "a header without an accession"),
    "twice": (b">c\nMM\n>sp|c|X\nKK\n", "c", 3, "the accession c occurred before"),
    "table illegal": (b"Entry\tSequence\nc\tMM\na\tM?\n", "a", 3, "character '?' at position 2"),
    "table empty": (b"Entry\tSequence\nc\tMM\na\t\n", "a", 3, "a row without a sequence"),
    "table ragged": (b"Entry\tSequence\na\tMM\t\nc\tMM\n", "a", 2, "the row has 3 cells"),
    "table cut": (b"Entry\tSequence\tLength\nc\tMM\t2\n\na\tMM\t3\n", "a", 4, "column says 3"),
    "table length": (b"Entry\tSequence\tLength\nc\tMM\t2\na\tMM\tx\n", "a", 3, "not a whole"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("data", "accession", "line", "reason"), BAD_RECORDS.values(), ids=BAD_RECORDS
)
def test_one_bad_record_is_rejected_with_its_line_and_the_rest_is_read(
    tmp_path, data, accession, line, reason
):
    found = list(read_proteins(written(tmp_path, data)))
    (rejected,) = [one for one in found if isinstance(one, Rejected)]
    assert rejected.accession == accession
    assert reason in rejected.reason
    assert rejected.where.endswith(f", line {line}")
    assert ("c", "MM") in proteins(found)


@pytest.mark.parametrize(
    ("data", "accession", "line", "reason"), BAD_RECORDS.values(), ids=BAD_RECORDS
)
def test_under_strict_the_same_record_stops(tmp_path, data, accession, line, reason):
    error = failure(tmp_path, data, strict=True)
    assert error.line == line
    assert reason in error.what
    assert accession in (error.record or "")


def test_other_alphabets_can_be_asked_for(tmp_path):
    path = written(tmp_path, b">a\nMXK\n")
    (rejected,) = read_proteins(path, alphabet="ACDEFGHIKLMNPQRSTVWY")
    assert "'X'" in rejected.reason


# --- damaged files ---


def test_a_missing_file_is_refused_at_the_call(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.fasta: no such file"):
        read_proteins(tmp_path / "nothing.fasta")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="this is a folder"):
        read_proteins(tmp_path)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "the file is empty"),
        (gzip.compress(b"", mtime=0), "empty once decompressed"),
        (zstandard.compress(b""), "empty once decompressed"),
        (b"\n \n\t\n", "only blank lines"),
        (b"Entry\tSequence\n", "no records"),
        (b"\x00\x01\x02\x03junk\xff\xfe", "binary file"),
        (b">a\x00\nMM", "binary file"),
        (b"MKLV\n>a\nMM\n", "text before the first header"),
        (b"@r1\nACGT\n+\nIIII\n", "FASTQ"),
        (b"<!DOCTYPE html>\n<html>", "web page"),
        (b"Entry,Sequence\nP1,MKL\n", "CSV"),
        (b"PK\x03\x04abcdefgh", "zip file"),
        (b"BZh91AY&SYabc", "bzip2 file"),
        (gzip.compress(gzip.compress(FASTA)), "compressed twice"),
    ],
)
def test_what_is_not_proteins_is_refused_with_what_it_is(tmp_path, data, what):
    assert what in failure(tmp_path, data).what


@pytest.mark.parametrize(
    ("header", "missing"),
    [(b"Entry\tLength", "'Sequence'"), (b"Sequence\tLength", "'Entry'"), (b"x\ty", "'Entry'")],
)
def test_a_table_without_a_needed_column_is_refused_with_the_column(tmp_path, header, missing):
    error = failure(tmp_path, header + b"\nA\t1\n")
    assert f"no column {missing}" in error.what
    assert error.line == 1


def test_a_table_with_a_column_twice_is_refused(tmp_path):
    assert "occurs twice" in failure(tmp_path, b"Entry\tSequence\tSequence\nA\tM\tM\n").what


@pytest.mark.parametrize("data", [FASTA * 1, TABLE], ids=["fasta", "table"])
def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path, data):
    error = failure(tmp_path, data + b">d caf\xe9\nMM\n")
    assert "not UTF-8" in error.what
    assert error.line == data.count(b"\n") + 1


def many(n: int) -> bytes:
    import random

    rng = random.Random(0)
    return b"".join(
        f">p{i}\n{''.join(rng.choices('ACDEFGHIKLMNPQRSTVWY', k=50))}\n".encode() for i in range(n)
    )


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gz", "zst"])
@pytest.mark.parametrize("cut", [5, 40, 0.5, -9, -1])
def test_truncated_data_are_refused_with_file_and_line(tmp_path, pack, cut):
    data = many(3000)
    packed = pack(data)
    path = written(tmp_path, packed[: int(len(packed) * cut) if isinstance(cut, float) else cut])
    found = []
    with pytest.raises(InputError, match=r"in\.txt, line \d+: the .* data are cut short") as caught:
        found.extend(read_proteins(path))
    # What was given out before is right, and the line lies in the file.
    assert proteins(found) == proteins(list(read_proteins(written(tmp_path, data))))[: len(found)]
    assert 2 * len(found) <= caught.value.line <= data.count(b"\n") + 1


@pytest.mark.parametrize("where", [0.3, 0.7, -6])
def test_a_corrupt_gz_is_refused(tmp_path, where):
    packed = bytearray(gzip.compress(many(2000)))
    packed[int(len(packed) * where) if isinstance(where, float) else where] ^= 0xFF
    assert "the gzip data are" in failure(tmp_path, bytes(packed)).what


def test_a_corrupt_zst_is_refused(tmp_path):
    packed = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(many(2000)))
    packed[len(packed) // 2] ^= 0xFF
    assert "the zstd data are" in failure(tmp_path, bytes(packed)).what


def test_text_after_a_gz_is_refused(tmp_path):
    assert "corrupt" in failure(tmp_path, gzip.compress(FASTA) + b"more").what


def test_a_genome_sized_record_is_refused_and_not_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("plmsae.proteins.fasta.LONGEST_RECORD", 1 << 20)
    error = failure(tmp_path, b">a\nMM\n>chr1\n" + b"ACGT\n" * 1_000_000)
    assert "a record of over" in error.what
    assert error.line == 3


# --- scale ---


def test_blocks_and_lines_agree_across_chunk_borders(tmp_path, monkeypatch):
    # Tiny chunks put a border at every place of a record.
    for size in (1, 2, 3, 7, 64):
        monkeypatch.setattr("plmsae.proteins.stream.CHUNK", size)
        found = list(read_proteins(written(tmp_path, FASTA)))
        assert proteins(found) == [("P77551", "MKLVTAAG"), ("b", "ACDE"), ("c", "MMMM")]
        assert [p.where.rpartition(" ")[2] for p in found] == ["1", "4", "6"]
        assert count_proteins(written(tmp_path, FASTA)) == 3


def test_memory_does_not_grow_with_the_input(tmp_path, monkeypatch):
    def peak(n: int) -> int:
        path = written(tmp_path, many(n))
        monkeypatch.setattr("plmsae.proteins.stream.CHUNK", 1 << 15)
        tracemalloc.start()
        for _ in read_proteins(path):
            pass
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    small, large = peak(2_000), peak(20_000)  # 0.1 MB and 1.2 MB, both far above a chunk
    assert large - small < 20_000 * 24


def test_accessions_are_found_again_after_the_table_grew():
    seen = SeenAccessions()
    assert all(seen.add(f"P{i}") for i in range(5000))
    assert not any(seen.add(f"P{i}") for i in range(5000))
    assert len(seen) == 5000


letters = st.text(PROTEIN_LETTERS, min_size=1, max_size=200)


@given(
    st.lists(letters, min_size=1, max_size=20), st.integers(1, 80), st.sampled_from(["\n", "\r\n"])
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(tmp_path_factory, sequences, width, end):
    lines: list[str] = []
    expected: list[int] = []
    for number, sequence in enumerate(sequences):
        expected.append(len(lines) + 1)
        lines.append(f">p{number} d")
        lines += [sequence[at : at + width] for at in range(0, len(sequence), width)]
    path = written(tmp_path_factory.mktemp("h"), (end.join(lines) + end).encode())
    found = list(read_proteins(path, strict=True))
    assert [p.sequence for p in found] == sequences
    assert [int(p.where.rpartition(" ")[2]) for p in found] == expected


@given(st.binary(max_size=300), st.sampled_from([b"", b">a\n", b"Entry\tSequence\n"]))
@settings(max_examples=200, deadline=None)
def test_whatever_the_bytes_only_an_input_error_comes(tmp_path_factory, data, start):
    path = written(tmp_path_factory.mktemp("h"), start + data)
    try:
        found = list(read_proteins(path))
    except InputError:
        return
    assert found


def test_nucleotides_are_noticed(tmp_path, caplog):
    dna = b"".join(b">g%d\n" % i + b"ACGTTGCA" * 10 + b"\n" for i in range(5))
    list(read_proteins(written(tmp_path, dna)))
    assert "look like nucleotides" in caplog.text
    caplog.clear()
    list(read_proteins(written(tmp_path, many(20))))
    assert not caplog.text


def test_the_real_corpus_is_read_whole(real_data):
    found = 0
    residues = 0
    for protein in read_proteins(real_data / "corpus.fasta.gz", strict=True):
        found += 1
        residues += len(protein.sequence)
    assert found == count_proteins(real_data / "corpus.fasta.gz") == 59_370
    assert 19_600_000 < residues < 19_800_000
