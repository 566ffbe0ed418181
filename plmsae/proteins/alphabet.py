"""Which letters a protein sequence may hold, and how the text of one is tidied.

All 26 letters have a meaning in the IUPAC-IUB one-letter code (1984 recommendation and its later
additions): the 20 amino acids, U (selenocysteine), O (pyrrolysine), B (Asx), Z (Glx), J (Leu or
Ile) and X (unknown). All are kept here; what a model's vocabulary lacks is the model's business.
Gaps (``-``, ``.``), digits and an inner stop (``*``) are not letters of a protein.
"""

from __future__ import annotations

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
"""The 20 standard amino acids, in alphabetical order of their letters."""

AMBIGUOUS = "BJOUXZ"
"""Letters that are legal but stand for a rare, ambiguous or unknown residue."""

PROTEIN_LETTERS = "".join(sorted(AMINO_ACIDS + AMBIGUOUS))
"""Every letter a sequence may hold."""

_LOWER = "".join(map(chr, range(ord("a"), ord("z") + 1)))
# Not str.upper: it would turn letters outside ASCII, such as ß, into legal ones.
_TIDY = str.maketrans(_LOWER, _LOWER.upper(), " \t\r\n\v\f")


def tidy(text: str) -> str:
    r"""Return `text` without blanks and without trailing ``*``, in upper case.

    Parameters
    ----------
    text : str
        A sequence as it stands in a file, with line breaks, inner spaces, lower (soft-masked) case.

    Examples
    --------
    >>> tidy("mkl vt\nAA*")
    'MKLVTAA'
    """
    return text.translate(_TIDY).rstrip("*")


class Alphabet:
    """A set of legal letters, with a fast test.

    Parameters
    ----------
    letters : str
        The legal letters, upper case.
    """

    def __init__(self, letters: str = PROTEIN_LETTERS) -> None:
        self.letters = frozenset(letters)
        self._drop = {ord(letter): None for letter in letters}

    def first_illegal(self, sequence: str) -> int | None:
        """Return the 0-based index of the first letter of `sequence` that is not legal, or None."""
        # str.translate on ASCII is much faster than a Python loop, and nearly all sequences pass.
        rest = sequence.translate(self._drop)
        return sequence.index(rest[0]) if rest else None
