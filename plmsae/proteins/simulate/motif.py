"""What a motif is, and the UniProt features that it gives a protein."""

from __future__ import annotations

import re
from dataclasses import dataclass

from plmsae.proteins.simulate.prosite import compile_pattern

Qualifiers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One UniProt feature that a motif gives the protein.

    Attributes
    ----------
    column : str
        Header in the UniProt export, for example ``Active site``.
    key : str
        Feature key in the cell, for example ``ACT_SITE``.
    first, last : int
        1-based places in the motif, or counted from its end when negative (-1 is the last).
    qualifiers : tuple of (str, str)
        For example ``(("ligand", "ATP"),)``.
    numbered : bool
        Whether several in one protein are numbered in the note: ``C2H2-type 1``.
    context : bool
        Whether the mark covers the surroundings too; `first` and `last` then count from theirs.
    """

    column: str
    key: str
    first: int = 1
    last: int = -1
    qualifiers: Qualifiers = ()
    numbered: bool = False
    context: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Motif:
    """One conserved motif.

    Attributes
    ----------
    name : str
        Short name, also the `source` of its labels.
    pattern, consensus : str
        PROSITE patterns of one shape; `consensus` is the narrower, and may be empty.
    marks : tuple of Mark
        What is annotated.
    before, after : str
        PROSITE patterns of the surroundings; may be empty.
    wild : str
        Kind of site (`alphabet.class_profile`) at places where the pattern accepts anything.
    rate : float
        How fast its places change within the pattern: sites crawl, biased stretches run.
    repeat : tuple of int
        How often the pattern occurs end to end, least and most (heptads of a coiled coil).
    kind : {"site", "span"}
        As in the label tables: points of function, or stretches.
    go : tuple of str
        GO terms of a protein that has the motif.
    ec : str
        EC number of such a protein; may be empty.
    """

    name: str
    pattern: str
    marks: tuple[Mark, ...]
    kind: str
    consensus: str = ""
    before: str = ""
    after: str = ""
    wild: str = "loop"
    rate: float = 0.35
    repeat: tuple[int, int] = (1, 1)
    go: tuple[str, ...] = ()
    ec: str = ""

    @property
    def regex(self) -> re.Pattern[str]:
        """What every annotated stretch of the motif, cut out of its protein, fully matches."""
        low, high = self.repeat
        return re.compile(f"(?:{compile_pattern(self.pattern).body}){{{low},{high}}}")


def span(
    column: str,
    key: str,
    note: str = "",
    first: int = 1,
    last: int = -1,
    *,
    numbered: bool = False,
    context: bool = False,
) -> Mark:
    """Return the mark of a stretch whose qualifier, if any, is a note."""
    return Mark(
        column=column,
        key=key,
        first=first,
        last=last,
        qualifiers=(("note", note),) if note else (),
        numbered=numbered,
        context=context,
    )
