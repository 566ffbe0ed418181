"""Proteins from a file or a pipe, one at a time, each either usable or rejected with its reason.

What concerns one record (an empty sequence, an illegal character, an accession seen before) rejects
that record, or stops under `strict`. What concerns the file (missing, empty, cut short, not text,
not proteins) always stops: with such a file nobody can say what the missing part held.
"""

from __future__ import annotations

import array
import hashlib
import itertools
import logging
import os
from collections.abc import Iterable, Iterator
from typing import Literal

from plmsae.core.errors import FormatError
from plmsae.proteins.alphabet import PROTEIN_LETTERS, Alphabet, tidy
from plmsae.proteins.fasta import RawRecord, fasta_records
from plmsae.proteins.records import Protein, Rejected
from plmsae.proteins.stream import (
    Source,
    byte_chunks,
    check_source,
    is_stream,
    source_name,
    unix_text,
)
from plmsae.proteins.tsv import TableReader

_log = logging.getLogger(__name__)

Format = Literal["fasta", "table"]

_SNIFF = 1 << 14
_NUCLEOTIDES = frozenset("ACGTUN")


def read_proteins(
    source: Source, *, strict: bool = False, alphabet: str = PROTEIN_LETTERS
) -> Iterator[Protein | Rejected]:
    """Read proteins from FASTA or a UniProt table, in the order of the input.

    Parameters
    ----------
    source : str or Path
        A path, or ``"-"`` for standard input; plain, gzip or zstd. Format and compression are found
        from the content.
    strict : bool
        Raise for the first record that would be `Rejected`.
    alphabet : str
        Legal letters; upper case. U, O, B, Z, X and J are legal by default and kept as they are.

    Yields
    ------
    Protein or Rejected
        One for each record. Memory does not grow with the input, except for about 16 bytes an
        accession, which find duplicates.

    Raises
    ------
    InputError
        If the source is missing or empty (at the call), or, as it is read: damaged, without
        records, not FASTA nor a table with the needed columns; under `strict`, also for any record
        that cannot be used. The message has file, record and line.

    Notes
    -----
    Lower case is raised, blanks inside a sequence and a trailing ``*`` are dropped.
    """
    check_source(source)
    return _read(source, strict, Alphabet(alphabet))


def read_pasted(text: str) -> Protein:
    """Return the one protein of a text: FASTA, or letters alone (then called ``pasted``).

    Raises
    ------
    InputError
        If it holds none or several, or one with letters that proteins do not have.
    """
    name = "the pasted sequence"
    fasta = text.strip() if text.strip().startswith(">") else f">pasted\n{text.strip()}"
    check = RecordValidator(name, strict=True, alphabet=Alphabet(PROTEIN_LETTERS))
    records = [check(raw) for raw in fasta_records(name, [fasta.encode()])]
    if len(records) != 1:
        raise FormatError(f"holds {len(records)} proteins, not one", where=name)
    (protein,) = records
    assert isinstance(protein, Protein)  # noqa: S101 - strict: nothing is rejected
    return protein


def count_proteins(source: Source) -> int | None:
    """Count the records of `source` without checking them, for a progress bar.

    Returns
    -------
    int or None
        None for standard input and pipes, which can be read only once.

    Raises
    ------
    InputError
        As `read_proteins` does for the file as a whole.
    """
    if is_stream(source):
        return None
    form, chunks = sniff(source_name(source), byte_chunks(source))
    if form == "table":
        reader = TableReader(source_name(source), chunks)
        return sum(1 for _ in reader.rows())
    count, last = 0, b"\n"
    for chunk in chunks:
        count += chunk.count(b"\n>") + (last == b"\n" and chunk.startswith(b">"))
        last = chunk[-1:]
    return count


def sniff(name: str, chunks: Iterator[bytes]) -> tuple[Format, Iterator[bytes]]:
    """Tell FASTA from a table by the first line that is not blank.

    Returns
    -------
    format, chunks
        The chunks are all there, as `unix_text` gives them.

    Raises
    ------
    InputError
        If there are only blanks, or the content is neither.
    """
    taken: list[bytes] = []
    head = b""
    chunks = unix_text(chunks)
    for chunk in chunks:
        taken.append(chunk)
        head = (head + chunk).lstrip()
        if len(head) >= _SNIFF or b"\n" in head:
            break
    begun = b"".join(taken)
    unspent = itertools.chain([begun], chunks)
    if not head:
        raise FormatError("no records, only blank lines", where=name)
    line = 1 + begun.partition(head[:1])[0].count(b"\n")
    first = head.partition(b"\n")[0]
    if first[:2] in (b"\x1f\x8b", b"\x28\xb5"):
        raise FormatError("the file is compressed twice", where=name, hint="decompress it once")
    if b"\0" in head[:_SNIFF]:
        raise FormatError("this is a binary file, not FASTA or a table", where=name, line=line)
    if first.startswith(b">"):
        return "fasta", unspent
    if b"\t" in first or first.strip().lower() in (b"entry", b"accession", b"sequence"):
        return "table", unspent
    hint = "a FASTA file starts with '>', a UniProt table with a header line"
    if first.startswith(b"@"):
        what = "this looks like FASTQ (reads), not proteins"
    elif first.startswith((b"<", b"{", b"[")):
        what = "this looks like a web page, XML or JSON, not FASTA or a table"
    elif b"," in first and b"entry" in first.lower():
        what, hint = "this looks like a CSV table", "export it as TSV (tab-separated)"
    else:
        what = "text before the first header, or not FASTA nor a table"
    found = first[:40].decode("ascii", "backslashreplace")
    raise FormatError(what, where=name, line=line, value=found, hint=hint)


class SeenAccessions:
    """Which accessions were seen, in 8 bytes each (at most about 16 with the free slots).

    A hash table with open addressing of 64-bit BLAKE2b digests. Two accessions share a digest with
    a probability of about n² / 2^65: 3 in 100,000 for 30 million proteins.
    """

    def __init__(self) -> None:
        self._slots = array.array("Q", [0]) * 1024
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, accession: str) -> bool:
        """Remember `accession`; return whether it is new."""
        digest = hashlib.blake2b(accession.encode("utf-8"), digest_size=8).digest()
        value = int.from_bytes(digest, "little") or 1  # 0 marks a free slot
        if not self._insert(value):
            return False
        self._count += 1
        if 4 * self._count > 3 * len(self._slots):
            old = self._slots
            self._slots = array.array("Q", [0]) * (2 * len(old))
            for known in old:
                if known:
                    self._insert(known)
        return True

    def _insert(self, value: int) -> bool:
        slots, mask = self._slots, len(self._slots) - 1
        place = value & mask
        while slots[place]:
            if slots[place] == value:
                return False
            place = (place + 1) & mask
        slots[place] = value
        return True


class RecordValidator:
    """Decides for each raw record whether it is a `Protein` or `Rejected`.

    Parameters
    ----------
    source : str or Path
        What the records come from; named in every message.
    strict : bool
        Raise instead of rejecting.
    """

    def __init__(self, source: Source, *, strict: bool, alphabet: Alphabet) -> None:
        self._name = source_name(source)
        self._short = os.path.basename(self._name)  # noqa: PTH119 -- also names standard input
        self._strict = strict
        self._alphabet = alphabet
        self._seen = SeenAccessions()
        self._nucleotides = 0

    def __call__(self, raw: RawRecord) -> Protein | Rejected:
        """Return the verdict on `raw`; raise `InputError` under `strict` if it is a rejection."""
        if raw.problem:
            return self._reject(raw, raw.problem)
        if not raw.accession:
            return self._reject(raw, "a header without an accession")
        sequence = tidy(raw.sequence)
        if not sequence:
            return self._reject(raw, f"a {'header' if raw.body else 'row'} without a sequence")
        illegal = self._alphabet.first_illegal(sequence)
        if illegal is not None:
            reason = f"illegal character {sequence[illegal]!r} at position {illegal + 1}"
            return self._reject(raw, reason, line=_line_of_residue(raw, illegal))
        if not self._seen.add(raw.accession):
            return self._reject(raw, f"the accession {raw.accession} occurred before")
        self._warn_of_nucleotides(raw, sequence)
        return Protein(
            accession=raw.accession,
            sequence=sequence,
            description=raw.description,
            where=f"{self._short}, record {raw.number}, line {raw.line}",
        )

    def _reject(self, raw: RawRecord, reason: str, *, line: int | None = None) -> Rejected:
        line = line or raw.line
        if self._strict:
            record = f"record {raw.number}" + (f" ({raw.accession})" if raw.accession else "")
            raise FormatError(reason, where=self._name, record=record, line=line)
        where = f"{self._short}, record {raw.number}, line {line}"
        return Rejected(accession=raw.accession, where=where, reason=reason)

    def _warn_of_nucleotides(self, raw: RawRecord, sequence: str) -> None:
        # A, C, G, T and N are amino acids too, so DNA passes every check; say so, once.
        if raw.number > 10 or self._nucleotides < 0:
            return
        if len(sequence) >= 60 and len(set(sequence)) > 2 and _NUCLEOTIDES.issuperset(sequence):
            self._nucleotides += 1
            if self._nucleotides == 3:
                _log.warning("%s: these look like nucleotides, not proteins", self._name)
        else:
            self._nucleotides = -1


def _read(source: Source, strict: bool, alphabet: Alphabet) -> Iterator[Protein | Rejected]:
    name = source_name(source)
    form, chunks = sniff(name, byte_chunks(source))
    records: Iterable[RawRecord]
    if form == "fasta":
        records = fasta_records(name, chunks)
    else:
        records = (raw for raw, _ in TableReader(name, chunks).rows())
    judge = RecordValidator(source, strict=strict, alphabet=alphabet)
    nothing = True
    for raw in records:
        nothing = False
        yield judge(raw)
    if nothing:
        raise FormatError("no records", where=name)


def _line_of_residue(raw: RawRecord, index: int) -> int:
    """Return the line that holds the residue at 0-based `index` of the tidied sequence."""
    if not raw.body:
        return raw.line
    for offset, text in enumerate(raw.body.split("\n")[1:], 1):
        letters = len(tidy(text + "X")) - 1  # an X, so that no * counts as trailing
        if index < letters:
            return raw.line + offset
        index -= letters
    return raw.line
