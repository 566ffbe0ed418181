"""Smith–Waterman alignments of pairs of proteins, by the SIMD library Opal (`pyopal`).

Local alignments with affine gaps (Smith & Waterman 1981, J Mol Biol 147:195; Gotoh 1982), BLOSUM62,
a gap of n residues at 11 + n, as in BLASTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plmsae.proteins.blosum import GAP_EXTEND, GAP_OPEN, LETTERS

if TYPE_CHECKING:
    from pyopal import Aligner, FullResult

Ints = NDArray[np.int64]

_UNKNOWN = "X"
_TO_LETTERS = {code: chr(code) if chr(code) in LETTERS + "BZ" else _UNKNOWN for code in range(0x80)}


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """One local alignment.

    Attributes
    ----------
    query_positions, target_positions : ndarray of int64, shape (n_matched,)
        Positions (0-based) of the residues that stand opposite each other, ascending.
    n_columns : int
        Columns of the alignment, those with a gap included.
    identity : float
        Identical residues / columns.
    score : int
        Raw score.
    """

    query_positions: Ints
    target_positions: Ints
    n_columns: int
    identity: float
    score: int

    @property
    def query_span(self) -> tuple[int, int]:
        """First residue of the query in the alignment, and one past its last."""
        return _span(self.query_positions)

    @property
    def target_span(self) -> tuple[int, int]:
        """The same of the target."""
        return _span(self.target_positions)


def scores(query: str, targets: Sequence[str]) -> Ints:
    """Return the Smith–Waterman score of a query with each target, shape (n_targets,).

    Parameters
    ----------
    query, targets : str, sequence of str
        Upper-case letters; what is no amino acid counts as unknown (``X``).
    """
    from pyopal import Database

    found = np.zeros(len(targets), np.int64)
    present = [at for at, target in enumerate(targets) if target]
    if query and present:
        database = Database([clean(targets[at]) for at in present])
        results = _aligner().align(clean(query), database, mode="score", algorithm="sw")
        found[present] = [result.score for result in results]
    return found


def align(query: str, targets: Sequence[str]) -> list[Alignment]:
    """Return the best local alignment of a query with each target.

    Parameters
    ----------
    query, targets : str, sequence of str
        As for `scores`. Identity is counted on the letters given.
    """
    from pyopal import Database

    nothing = np.zeros(0, np.int64)
    empty = Alignment(
        query_positions=nothing, target_positions=nothing, n_columns=0, identity=0.0, score=0
    )
    found = [empty] * len(targets)
    # Opal traces only alignments that score: those without a score have no path.
    present = [at for at, score in enumerate(scores(query, targets)) if score > 0]
    if present:
        database = Database([clean(targets[at]) for at in present])
        results = _aligner().align(clean(query), database, mode="full", algorithm="sw")
        for at, result in zip(present, results, strict=True):
            found[at] = _alignment(query, targets[at], result)
    return found


def clean(sequence: str) -> str:
    """Return a sequence with ``X`` for every letter that BLOSUM62 does not score."""
    return sequence.translate(_TO_LETTERS)


@cache
def _aligner() -> Aligner:
    from pyopal import Aligner

    # Opal's opening cost includes the first residue of the gap.
    return Aligner("BLOSUM62", gap_open=GAP_OPEN + GAP_EXTEND, gap_extend=GAP_EXTEND)


def _alignment(query: str, target: str, result: FullResult) -> Alignment:
    columns = np.frombuffer(result.alignment.encode("ascii"), np.uint8)
    in_query = columns != ord("I")  # I: a residue of the target opposite a gap
    in_target = columns != ord("D")  # D: a residue of the query opposite a gap
    both = in_query & in_target
    at_query = (result.query_start + np.cumsum(in_query) - 1)[both]
    at_target = (result.target_start + np.cumsum(in_target) - 1)[both]
    letters = [np.frombuffer(text.encode("ascii"), np.uint8) for text in (query, target)]
    same = int((letters[0][at_query] == letters[1][at_target]).sum())
    return Alignment(
        query_positions=at_query,
        target_positions=at_target,
        n_columns=len(columns),
        identity=same / len(columns),
        score=result.score,
    )


def _span(positions: Ints) -> tuple[int, int]:
    return (int(positions[0]), int(positions[-1]) + 1) if len(positions) else (0, 0)
