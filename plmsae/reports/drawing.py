"""Geometry of the pictures in a report: heat on residues, sequence logos, bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from plmsae.reports.evidence import FLANK, FeatureEvidence, ProteinExample

LOGO_WIDTH, LOGO_HEIGHT = 20, 96
"""Pixels of a column of the logo at the size it is drawn."""

_CLASSES = {"hydrophobic": "AVLIMFWC", "polar": "STNQYGPH", "positive": "KR", "negative": "DE"}
_CLASS_OF = {letter: name for name, letters in _CLASSES.items() for letter in letters}


def class_of(residue: str) -> str:
    """Return the chemical class of an amino acid, which decides its colour."""
    return _CLASS_OF.get(residue, "other")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One residue of a window."""

    letter: str
    """Its one-letter code."""
    heat: float
    """Its activation, in [0, 1]."""
    peak: bool
    """Whether it is the strongest of the protein."""
    position: int
    """1-based, in the protein."""


@dataclass(frozen=True, kw_only=True)
class Letter:
    """One letter of a logo column, in pixels from the top left of the logo."""

    letter: str
    kind: str
    x: float
    """Left edge."""
    y: float
    """Lower edge."""
    scale: float
    """Vertical stretch of a letter of 10 pixels' font size."""


def indent(example: ProteinExample) -> int:
    """Return how many residues a window lacks on the left, for all peaks to stand in one column."""
    return FLANK - (example.peak - example.window_start)


def cells(example: ProteinExample) -> list[Cell]:
    """Return the residues of an example's window."""
    return [
        Cell(
            letter=letter,
            heat=heat,
            peak=example.window_start + i == example.peak,
            position=example.window_start + i,
        )
        for i, (letter, heat) in enumerate(zip(example.window, example.activations, strict=True))
    ]


class Logo(NamedTuple):
    """A sequence logo."""

    letters: list[Letter]
    """Its letters; none where no column has information."""
    bits: float
    """Information of its highest column."""


def logo(columns: Sequence[Mapping[str, float]], n: int) -> Logo:
    """Lay out a sequence logo.

    A column is as high as its information, log2(20) − H bits less the small-sample correction
    19 / (2 n ln 2), and its letters share that height by frequency (Schneider and Stephens, Nucleic
    Acids Research 1990). The highest column fills the picture if it has a bit or more. Letters
    under 2 pixels are left out.

    Parameters
    ----------
    columns : sequence of mapping
        Shares of the amino acids at each offset.
    n : int
        Number of sequences behind them.
    """
    correction = 19 / (2 * max(n, 1) * math.log(2))
    entropies = [-sum(p * math.log2(p) for p in shares.values() if p > 0) for shares in columns]
    bits = [max(0.0, math.log2(20) - entropy - correction) for entropy in entropies]
    highest = max(bits, default=0.0)
    letters = []
    for i, shares in enumerate(columns):
        y = float(LOGO_HEIGHT)
        for letter, share in sorted(shares.items(), key=lambda item: (item[1], item[0])):
            height = share * bits[i] / max(highest, 1.0) * LOGO_HEIGHT
            if height >= 2:
                letters.append(
                    Letter(
                        letter=letter,
                        kind=class_of(letter),
                        x=round(i * LOGO_WIDTH + LOGO_WIDTH / 2, 1),
                        y=round(y, 1),
                        # Capitals of common monospaced faces are 0.73 of the font size high.
                        scale=round(height / 7.3, 3),
                    )
                )
                y -= height
    return Logo(letters, highest)


def level_bars(evidence: FeatureEvidence) -> list[float]:
    """Return the height of a bar for each level, in [0, 1], by the square root of its proteins.

    Most proteins lie in the lowest level; on a straight scale the others would not be seen.
    """
    roots = [math.sqrt(level.n_proteins) for level in evidence.levels]
    highest = max(roots, default=0.0) or 1.0
    return [root / highest for root in roots]
