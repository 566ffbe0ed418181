"""Cutting a stream of proteins into parts: the unit of work, of resuming and of memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from plmsae.proteins.records import Protein, Rejected

PART_RESIDUES = 200_000
"""Residues that fill a part, unless another number is asked for."""

MAX_RECORDS = 50_000
"""A part is closed at this many records even if they hold few residues (or were all rejected)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A run of consecutive records of the input."""

    index: int
    """0-based place in the input."""
    proteins: tuple[Protein, ...]
    """Usable proteins, in input order."""
    rejected: tuple[Rejected, ...]
    """Records that the reader refused, in input order."""

    @property
    def n_read(self) -> int:
        """Records, usable or not."""
        return len(self.proteins) + len(self.rejected)

    @property
    def n_residues(self) -> int:
        """Residues of the usable proteins."""
        return sum(len(protein.sequence) for protein in self.proteins)

    @property
    def sha256(self) -> str:
        """Fingerprint of what the records say; not of where the file lies."""
        digest = hashlib.sha256()
        for protein in self.proteins:
            _feed(digest, "protein", protein.accession, protein.sequence)
        for rejected in self.rejected:
            _feed(digest, "rejected", rejected.accession, rejected.reason)
        return digest.hexdigest()


def cut(
    records: Iterable[Protein | Rejected], part_residues: int, *, max_records: int = MAX_RECORDS
) -> Iterator[Part]:
    """Cut records into parts of about equal residues, in input order.

    A part is closed by the protein that fills it, so it overshoots by less than one protein. Only
    one part is held at a time.

    Parameters
    ----------
    records : iterable of Protein or Rejected
        As `plmsae.proteins.reading.read_proteins` yields them.
    part_residues : int
        Residues that fill a part; at least 1.
    max_records : int
        Records that fill a part whatever their residues.
    """
    proteins: list[Protein] = []
    rejected: list[Rejected] = []
    residues = index = 0
    for record in records:
        if isinstance(record, Protein):
            proteins.append(record)
            residues += len(record.sequence)
        else:
            rejected.append(record)
        if residues >= part_residues or len(proteins) + len(rejected) >= max_records:
            yield Part(index=index, proteins=tuple(proteins), rejected=tuple(rejected))
            proteins, rejected, residues, index = [], [], 0, index + 1
    if proteins or rejected:
        yield Part(index=index, proteins=tuple(proteins), rejected=tuple(rejected))


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What one pass over an input found."""

    n_read: int
    """Records, usable or not."""
    n_proteins: int
    """Usable proteins."""
    n_residues: int
    """Their residues."""
    sha256: str
    """Fingerprint of all parts in order."""


class InputTally:
    """Adds up parts into a `Survey`."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._read = self._proteins = self._residues = 0

    def add(self, part: Part, sha256: str) -> None:
        """Count `part`, whose fingerprint is `sha256`."""
        self._digest.update(sha256.encode("ascii"))
        self._read += part.n_read
        self._proteins += len(part.proteins)
        self._residues += part.n_residues

    def survey(self) -> Survey:
        """Return the sums so far."""
        return Survey(
            n_read=self._read,
            n_proteins=self._proteins,
            n_residues=self._residues,
            sha256=self._digest.hexdigest(),
        )


def _feed(digest: hashlib._Hash, *fields: str) -> None:
    # Lengths go first, so that no two lists of fields give the same bytes.
    for text in fields:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
