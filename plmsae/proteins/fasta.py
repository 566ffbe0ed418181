"""FASTA records with the line they stand on.

needletail parses; it knows neither lines nor streams, so the text reaches it in blocks that are cut
between records, and the lines of each record are counted here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import needletail

from plmsae.core.errors import FormatError
from plmsae.proteins.stream import not_utf8

LONGEST_RECORD = 1 << 24
"""Bytes; the longest known proteins have under 50,000 residues, so more is not a protein."""

_DATABASES = {"sp", "tr", "ref", "gb", "emb", "dbj", "pir", "prf", "tpg", "tpe", "tpd"}


class RawRecord(NamedTuple):
    """One record as it stands in the file.

    Attributes
    ----------
    number : int
        1-based number of the record in the file.
    line : int
        1-based line of its header (FASTA) or row (table).
    accession, description, sequence : str
        Not yet checked or tidied; `sequence` may hold blanks.
    body : str
        The text whose first line is `line`; an illegal letter is looked up in it to name its line.
    problem : str
        What is already known to be wrong, or "".
    """

    number: int
    line: int
    accession: str
    description: str
    sequence: str
    body: str = ""
    problem: str = ""


def parse_header(header: str) -> tuple[str, str]:
    """Split a FASTA header (without ``>``) into accession and description.

    ``sp|P77551|RZPR_ECOLI Lysis protein`` gives ``("P77551", "Lysis protein")``; so do the other
    pipe-separated forms of UniProt, NCBI and DDBJ. Other first words are kept whole.
    """
    word, _, description = header.strip().partition(" ")
    if "\t" in word:
        word, _, tail = word.partition("\t")
        description = f"{tail} {description}".strip()
    parts = word.split("|")
    if parts[0].lower() == "gi" and len(parts) >= 4:
        parts = parts[2:]
    if len(parts) >= 2 and parts[0].lower() in _DATABASES:
        word = parts[1] or word
    return word, description.strip()


def fasta_records(name: str, chunks: Iterable[bytes]) -> Iterator[RawRecord]:
    """Yield the records of a FASTA stream.

    Parameters
    ----------
    name : str
        What messages call the source.
    chunks : iterable of bytes
        Decompressed content; blank lines may stand before the first ``>``.

    Raises
    ------
    InputError
        If the text is not UTF-8 or a record is impossibly long.
    """
    number = 0
    for block, first_line in _blocks(name, chunks):
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(name, block, error, first_line) from None
        # Two line ends, because needletail takes a header at the very end for a cut file.
        parsed = needletail.parse_fastx_string(text + "\n\n")
        start, line = 0, first_line
        for record in parsed:
            number += 1
            end = text.find("\n>", start) + 1 or len(text)
            accession, description = parse_header(record.id)
            yield RawRecord(number, line, accession, description, record.seq, body=text[start:end])
            line += text.count("\n", start, end)
            start = end


def _blocks(name: str, chunks: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield (whole records, line of the first) of at most a few chunks each."""
    line, rest, begun = 1, b"", False
    for chunk in chunks:
        data = rest + chunk
        if not begun:
            content = data.lstrip()
            line += data.count(b"\n", 0, len(data) - len(content))
            data, begun = content, bool(content)
        cut = data.rfind(b"\n>", max(0, len(rest) - 1)) + 1
        if cut:
            yield data[:cut], line
            line += data.count(b"\n", 0, cut)
        rest = data[cut:]
        if len(rest) > LONGEST_RECORD:
            raise FormatError(
                f"a record of over {LONGEST_RECORD:,} bytes",
                where=name,
                line=line,
                hint="is this a genome, or not a FASTA file?",
            )
    if rest:
        yield rest, line
