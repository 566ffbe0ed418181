"""PROSITE patterns: read them, match them, and draw sequences from them.

The syntax is that of the PROSITE user manual, section IV.E: elements joined by ``-``; ``x`` any
amino acid; ``[ALT]`` one of; ``{AM}`` none of; ``(3)`` or ``(2,4)`` repeats; ``<`` and ``>`` the
ends of the protein; a final full stop is allowed. ``[G>]`` (an end inside brackets) is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from plmsae.core.errors import InputError
from plmsae.proteins.simulate.alphabet import ALPHABET, BACKGROUND, Float, decode, sample

_ELEMENT = re.compile(
    r"(?:(?P<any>x)|(?P<one>[A-Z])|\[(?P<of>[A-Z]+)\]|\{(?P<none>[A-Z]+)\})"
    r"(?:\((?P<low>\d+)(?:,(?P<high>\d+))?\))?"
)
_MAX_REPEAT = 200


@dataclass(frozen=True, slots=True)
class Unit:
    """One place of a pattern.

    Attributes
    ----------
    allowed : str
        The letters it accepts, in the order of `ALPHABET`.
    extra : int
        0 for a place that is always there once; n for one that is there 0 to n times.
    """

    allowed: str
    extra: int


@dataclass(frozen=True)
class Pattern:
    """A compiled PROSITE pattern.

    Attributes
    ----------
    text : str
        As it was written.
    units : tuple of Unit
        ``x(2,4)`` becomes two units and a third that is there 0 to 2 times.
    body : str
        The regular expression without its anchors.
    at_start, at_end : bool
        Whether the pattern is bound to an end of the protein.
    """

    text: str
    units: tuple[Unit, ...]
    body: str
    at_start: bool
    at_end: bool

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """Regular expression to ``search`` a whole protein with."""
        start, end = r"\A" if self.at_start else "", r"\Z" if self.at_end else ""
        return re.compile(start + self.body + end)

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """Which letters each unit accepts; shape (units, 20)."""
        return np.array([[letter in unit.allowed for letter in ALPHABET] for unit in self.units])

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The `extra` of every unit; two patterns of one shape can be laid over each other."""
        return tuple(unit.extra for unit in self.units)

    def layout(self, rng: np.random.Generator) -> NDArray[np.intp]:
        """Draw how often every variable unit occurs; return the unit of each position.

        Returns
        -------
        ndarray, shape (length,)
            Non-decreasing, 0-based indices into `units`.
        """
        extra = np.array(self.shape)
        # integers(0, n + 1) is uniform over the allowed counts; fixed units take 1.
        counts = np.where(extra == 0, 1, rng.integers(0, extra + 1))
        return np.repeat(np.arange(len(extra)), counts)

    def sample(self, rng: np.random.Generator) -> str:
        """Draw a stretch that the pattern accepts, letters at Swiss-Prot frequencies."""
        rows: Float = (self.masks * BACKGROUND)[self.layout(rng)]
        return decode(sample(rows, rng))


def _fail(text: str, what: str, value: str) -> InputError:
    return InputError(
        f"PROSITE pattern {text!r}: {what}",
        value=value,
        hint="write elements as in [AG]-x(4)-G-K-[ST], joined by '-'",
    )


@cache
def compile_pattern(text: str) -> Pattern:
    """Compile a PROSITE pattern.

    Parameters
    ----------
    text : str
        For example ``[AG]-x(4)-G-K-[ST]``, ``N-{P}-[ST]-{P}`` or ``[KRHQSA]-[DENQ]-E-L>``.

    Returns
    -------
    Pattern

    Raises
    ------
    InputError
        If an element cannot be read, names a letter that is no amino acid, or repeats more often
        than 200 times or fewer times than its lower bound.
    """
    inner = text.strip().removesuffix(".")
    at_start, at_end = inner.startswith("<"), inner.endswith(">")
    inner = inner.removeprefix("<").removesuffix(">")
    units: list[Unit] = []
    body: list[str] = []
    for element in inner.split("-"):
        match = _ELEMENT.fullmatch(element)
        if match is None:
            raise _fail(text, "cannot read this element", element)
        letters = match["one"] or match["of"] or match["none"] or ""
        if unknown := set(letters) - set(ALPHABET):
            raise _fail(text, "not an amino acid", "".join(sorted(unknown)))
        allowed = "".join(
            a for a in ALPHABET if match["any"] or (a in letters) != bool(match["none"])
        )
        low = int(match["low"] or 1)
        high = int(match["high"] or low)
        if not (low <= high <= _MAX_REPEAT and high > 0 and allowed):
            raise _fail(text, f"repeats must satisfy low <= high <= {_MAX_REPEAT}", element)
        units += [Unit(allowed, 0)] * low
        if high > low:
            units.append(Unit(allowed, high - low))
        body.append(_regex(match, letters) + ("" if low == high == 1 else f"{{{low},{high}}}"))
    return Pattern(text, tuple(units), "".join(body), at_start, at_end)


def _regex(match: re.Match[str], letters: str) -> str:
    if match["any"]:
        return "[A-Z]"  # real sequences also hold X, U, B and Z
    return f"[^{letters}]" if match["none"] else f"[{letters}]"
