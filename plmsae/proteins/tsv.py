"""Rows of a tab-separated table with the line they stand on.

UniProt's exports quote nothing (notes hold ``"`` as ordinary text), so a row is a line and a cell
is what stands between two tabs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from plmsae.core.errors import FormatError
from plmsae.proteins.fasta import RawRecord
from plmsae.proteins.stream import text_lines

ACCESSION_HEADERS = ("entry", "accession", "primary accession", "uniprot accession")
SEQUENCE_HEADERS = ("sequence",)
LENGTH_HEADERS = ("length",)
NAME_HEADERS = ("protein names", "protein name", "name")


def fold(header: str) -> str:
    """Return `header` as it is compared: no case, single spaces."""
    return " ".join(header.split()).casefold()


def find_column(headers: list[str], names: Iterable[str]) -> int | None:
    """Return the 0-based index of the first of `names` among `headers`, or None."""
    folded = [fold(header) for header in headers]
    return next((folded.index(name) for name in names if name in folded), None)


class TableReader:
    """The header of a UniProt table, read at once, and its rows, read as they are asked for.

    Parameters
    ----------
    name : str
        What messages call the source.
    chunks : iterable of bytes
        Decompressed content.

    Attributes
    ----------
    headers : list of str
        As they stand in the file.

    Raises
    ------
    InputError
        If there is no header, a header occurs twice, or the accession or sequence is missing.
    """

    def __init__(self, name: str, chunks: Iterable[bytes]) -> None:
        self.name = name
        self._lines = enumerate(text_lines(name, chunks), 1)
        line, header = next(((line, text) for line, text in self._lines if text.strip()), (0, ""))
        if not header:
            raise FormatError("no records", where=name)
        self.headers = [cell.strip() for cell in header.split("\t")]
        folded = [fold(cell) for cell in self.headers]
        for cell in folded:
            if cell and folded.count(cell) > 1:
                raise FormatError("a column occurs twice", where=name, line=line, value=cell)
        self._accession = self._need(ACCESSION_HEADERS, "Entry", line)
        self._sequence = self._need(SEQUENCE_HEADERS, "Sequence", line)
        self._length = find_column(self.headers, LENGTH_HEADERS)
        self._description = find_column(self.headers, NAME_HEADERS)

    def _need(self, names: tuple[str, ...], shown: str, line: int) -> int:
        index = find_column(self.headers, names)
        if index is None:
            raise FormatError(
                f"the table has no column {shown!r}",
                where=self.name,
                line=line,
                value=", ".join(self.headers),
                hint="add it under Customize columns of the UniProt website",
            )
        return index

    def rows(self) -> Iterator[tuple[RawRecord, list[str]]]:
        """Yield each row as a record and as cells; `problem` says what is wrong with its shape."""
        width, number = len(self.headers), 0
        for line, text in self._lines:
            if not text.strip():
                continue
            number += 1
            cells = text.split("\t")
            if len(cells) != width:
                accession = cells[self._accession] if self._accession < len(cells) else ""
                problem = f"the row has {len(cells)} cells, the header has {width}"
                yield RawRecord(number, line, accession, "", "", problem=problem), cells
                continue
            sequence = cells[self._sequence]
            problem = ""
            if self._length is not None and sequence.strip(" *"):
                problem = _length_problem(cells[self._length], sequence)
            description = "" if self._description is None else cells[self._description]
            yield (
                RawRecord(
                    number,
                    line,
                    cells[self._accession].strip(),
                    description,
                    sequence,
                    problem=problem,
                ),
                cells,
            )


def _length_problem(cell: str, sequence: str) -> str:
    """Compare the length column with the sequence: they differ where a sequence was cut."""
    cell = cell.strip()
    if not cell or not sequence:
        return ""
    if not (cell.isascii() and cell.isdigit()):
        return f"the length is not a whole number (found {cell[:20]!r})"
    residues = len("".join(sequence.split()).rstrip("*"))
    if len(cell) > 9 or int(cell) != residues:
        return f"the length column says {cell[:20]}, the sequence has {residues} residues"
    return ""
