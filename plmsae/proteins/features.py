"""UniProt's feature syntax: ``BINDING 12..30; /ligand="ATP"; /note="via amide nitrogen"``.

A cell is a list of features; a feature is a key, a position or range, and qualifiers. Ends may be
open (``<1``, ``>30``), unsure (``?12``) or unknown (``?``), and a feature of another isoform names
it before its position (``P12345-2:5..8``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from plmsae.core.errors import FormatError, InputError

Fuzzy = Literal["", "<", ">", "?"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One feature of one protein.

    Attributes
    ----------
    key : str
        UniProt's feature key, such as ``BINDING``.
    start, end : int or None
        1-based, inclusive; None where unknown (``?``).
    start_fuzzy, end_fuzzy : {"", "<", ">", "?"}
        ``<``: begins before; ``>``: ends after; ``?``: unsure (or, without a number, unknown).
    qualifiers : mapping of str to str
        By name without the slash: ``note``, ``ligand``, ``evidence`` …
    isoform : str
        The sequence the positions count on, if it is not the canonical one; else "". Callers who
        have only the canonical sequence must skip these.
    """

    key: str
    start: int | None
    end: int | None
    start_fuzzy: Fuzzy = ""
    end_fuzzy: Fuzzy = ""
    qualifiers: Mapping[str, str] = field(default_factory=dict, hash=False)
    isoform: str = ""


# One regular expression a token; none can backtrack over more than one token.
_KEY = re.compile(r"([A-Z][A-Z0-9_]*)[ ]+")
_END = r"([<>?]?)([0-9]{0,9})"
_POSITION = re.compile(rf"(?:([A-Za-z0-9_.-]+):)?{_END}(?:\.\.(?:([A-Za-z0-9_.-]+):)?{_END})?")
_QUALIFIER = re.compile(r"/([A-Za-z_][A-Za-z0-9_]*)")
_BARE_VALUE = re.compile(r"[^;\"]*")
_QUOTED_PIECE = re.compile(r'[^"]*')
_SEPARATOR = re.compile(r"\s*;\s*")
# "DOMAIN 10 50 SH3. {ECO:…}.": two positions without dots between them.
_BEFORE_2019 = re.compile(r"[A-Z][A-Z0-9_]* +[<>?]?[0-9]* +[<>?]?[0-9]+(?=[ .]|$)")
_WELL_BEGUN = re.compile(rf"([A-Z][A-Z0-9_]*) +{_POSITION.pattern}\s*(?:;|$)")
_BLANK = re.compile(r"\s*")


def parse_features(cell: str | None, *, where: str) -> list[Feature]:
    """Parse one cell of a feature column.

    Parameters
    ----------
    cell : str or None
        The cell; None and blanks hold no feature.
    where : str
        Names the cell in messages: ``P77551, column 'Binding site'``.

    Returns
    -------
    list of Feature
        In the order of the cell.

    Raises
    ------
    InputError
        If the cell does not follow the syntax, with the text it fails at.

    Notes
    -----
    A quote inside a quoted value is written twice; one that is not followed by ``;`` or the end is
    also taken as part of the value, because old exports hold such. Repeated qualifiers are joined
    with ``; ``.
    """
    if cell is None:
        return []
    return _Cell(cell, where).features()


def first_key(cell: str) -> str | None:
    """Return the key of the first feature of `cell`; None if it does not begin like a feature.

    Examples
    --------
    >>> first_key('BINDING 12..30; /ligand="ATP"')
    'BINDING'
    >>> first_key("Binds ATP") is None
    True
    """
    match = _WELL_BEGUN.match(cell.lstrip())
    return match[1] if match else None


def render_features(features: Iterable[Feature]) -> str:
    """Write `features` as one cell, so that `parse_features` gives them back."""
    return "; ".join(_render(feature) for feature in features)


class _Cell:
    """A cell and how far it has been read."""

    def __init__(self, text: str, where: str) -> None:
        self.text = text
        self.where = where
        self.at = _skip(_BLANK, text, 0)

    def features(self) -> list[Feature]:
        found: list[Feature] = []
        while self.at < len(self.text):
            if _BEFORE_2019.match(self.text, self.at):
                raise FormatError(
                    "the feature is in the syntax that UniProt used before 2019",
                    where=self.where,
                    value=self.text[self.at : self.at + 40],
                    hint="export the table again from the UniProt website",
                )
            key = self._match(_KEY, "a feature key such as BINDING").group(1)
            begin, end, isoform = self._position()
            qualifiers: dict[str, str] = {}
            self._separate()
            while self.text.startswith("/", self.at):
                name = self._match(_QUALIFIER, "a qualifier such as /note").group(1)
                value = self._value()
                qualifiers[name] = f"{qualifiers[name]}; {value}" if name in qualifiers else value
                self._separate()
            found.append(
                Feature(
                    key=key,
                    start=begin[1],
                    end=end[1],
                    start_fuzzy=begin[0],
                    end_fuzzy=end[0],
                    qualifiers=qualifiers,
                    isoform=isoform,
                )
            )
        return found

    def _position(self) -> tuple[tuple[Fuzzy, int | None], tuple[Fuzzy, int | None], str]:
        at = self.at
        match = self._match(_POSITION, "a position such as 12 or 12..30")
        isoform, mark1, number1, isoform2, mark2, number2 = match.groups()
        begin = self._end(mark1, number1, at)
        end = begin if mark2 is None else self._end(mark2, number2, at)
        if isoform2 and isoform2 != isoform:
            raise self._error("a range on two different sequences", at)
        if begin[1] is not None and end[1] is not None and begin[1] > end[1]:
            raise self._error("a range that ends before it starts", at)
        return begin, end, isoform or ""

    def _end(self, mark: str, digits: str, at: int) -> tuple[Fuzzy, int | None]:
        if not digits and mark != "?":
            raise self._error("a position such as 12 or 12..30 was expected", at)
        if digits and int(digits) == 0:
            raise self._error("positions start at 1", at)
        fuzzy: Fuzzy = "<" if mark == "<" else ">" if mark == ">" else "?" if mark else ""
        return fuzzy, int(digits) if digits else None

    def _value(self) -> str:
        if not self.text.startswith("=", self.at):
            return ""
        self.at += 1
        if not self.text.startswith('"', self.at):
            return self._match(_BARE_VALUE, "a value").group().strip()
        opened = self.at
        self.at += 1
        pieces: list[str] = []
        while True:
            pieces.append(self._match(_QUOTED_PIECE, "text").group())
            if self.at == len(self.text):
                raise self._error("a quote is never closed", opened)
            self.at += 1  # the quote that ended the piece
            if self.text.startswith('"', self.at):
                self.at += 1
            elif self._at_separator():
                return "".join(pieces)
            pieces.append('"')

    def _at_separator(self) -> bool:
        after = _skip(_BLANK, self.text, self.at)
        return after == len(self.text) or self.text[after] == ";"

    def _separate(self) -> None:
        self.at = _skip(_BLANK, self.text, self.at)
        if self.at < len(self.text):
            self._match(_SEPARATOR, "';'")

    def _match(self, pattern: re.Pattern[str], expected: str) -> re.Match[str]:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise self._error(f"{expected} was expected", self.at)
        self.at = match.end()
        return match

    def _error(self, what: str, at: int) -> InputError:
        return FormatError(
            f"{what}, at character {at + 1} of the cell",
            where=self.where,
            value=self.text[at : at + 40],
        )


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _render(feature: Feature) -> str:
    begin = feature.start_fuzzy + ("" if feature.start is None else str(feature.start))
    end = feature.end_fuzzy + ("" if feature.end is None else str(feature.end))
    isoform = f"{feature.isoform}:" if feature.isoform else ""
    place = begin if begin == end else f"{begin}..{end}"
    parts = [f"{feature.key} {isoform}{place}"]
    for name, value in feature.qualifiers.items():
        doubled = value.replace('"', '""')
        parts.append(f'/{name}="{doubled}"')
    return "; ".join(parts)
