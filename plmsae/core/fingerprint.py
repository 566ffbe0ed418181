"""SHA-256 fingerprints of data, so that a model can say exactly what it was trained on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class _Record(Protocol):
    @property
    def accession(self) -> str: ...
    @property
    def sequence(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFingerprint:
    """Which data, in a form that a reader can check.

    Raises
    ------
    ValueError
        If `sha256` is not 64 lower-case hexadecimal digits.
    """

    source: str
    """What a person calls it: a file name, never a full path."""
    sha256: str
    """Of the file (`fingerprint_file`) or of the records read from it (`fingerprint_records`)."""
    n_proteins: int | None = None
    """How many proteins were used."""
    n_residues: int | None = None
    """How many residues were used."""

    def __post_init__(self) -> None:
        if not _SHA256.match(self.sha256):
            raise ValueError(f"sha256 must be 64 hexadecimal digits, not {self.sha256[:80]!r}")


def fingerprint_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes, read in blocks."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint_records(records: Iterable[_Record]) -> str:
    """Return the hexadecimal SHA-256 of proteins, whatever file format they came in.

    Parameters
    ----------
    records : iterable of Protein
        Anything with `accession` and `sequence`. The order counts, because training sees it.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for record in records:
        for text in (record.accession, record.sequence):
            # The length goes first, so that ("AB", "C") and ("A", "BC") differ.
            raw = text.encode()
            digest.update(len(raw).to_bytes(8, "little"))
            digest.update(raw)
    return digest.hexdigest()
