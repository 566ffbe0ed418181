"""What a protein is, and what becomes of one that cannot be used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Protein:
    """One protein that was read and found usable.

    Attributes
    ----------
    accession : str
        Unique within one input. ``sp|P77551|RZPR_ECOLI`` is read as ``P77551``.
    sequence : str
        Upper-case amino-acid letters, no gaps, no trailing ``*``; at least one letter.
    description : str
        The rest of the FASTA header, or the protein name of a table.
    where : str
        Where it stood: ``proteome.fasta, record 3, line 12``.
    """

    accession: str
    sequence: str
    description: str = ""
    where: str = ""

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the sequence (ASCII)."""
        return hashlib.sha256(self.sequence.encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """One record that cannot be scored, kept so that every input is accounted for.

    Attributes
    ----------
    accession : str
        As far as it could be read; may be empty.
    where : str
        Where it stood in the input.
    reason : str
        One sentence: what is wrong, with the value found.
    """

    accession: str
    where: str
    reason: str
