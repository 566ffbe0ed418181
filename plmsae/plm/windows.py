"""Cutting proteins into windows a PLM can take, and windows into batches of a token budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

#: Residues that neighbouring windows of a long protein share.
OVERLAP = 256


class Window(NamedTuple):
    """A stretch of one protein, 0-based half-open, and the part of it that is kept.

    Attributes
    ----------
    protein : int
        Index of the protein in the input.
    start, end : int
        What the PLM sees.
    keep_start, keep_end : int
        The residues whose activations are taken from this window.
    """

    protein: int
    start: int
    end: int
    keep_start: int
    keep_end: int


def cut_windows(protein: int, length: int, max_residues: int) -> list[Window]:
    """Cut a protein into windows that overlap by `OVERLAP` residues (fewer in short windows).

    Each residue is kept from exactly one window: where two overlap, each keeps the half on its own
    side, so that a kept residue has context on both sides wherever the protein has it.
    """
    if length <= max_residues:
        return [Window(protein, 0, length, 0, length)]
    overlap = min(OVERLAP, max_residues // 2)
    step = max_residues - overlap
    starts = [*range(0, length - max_residues, step), length - max_residues]
    windows = []
    keep_start = 0
    for start, after in zip(starts, [*starts[1:], None], strict=True):
        end = start + max_residues
        keep_end = length if after is None else (after + end) // 2
        windows.append(Window(protein, start, end, keep_start, keep_end))
        keep_start = keep_end
    return windows


def batches(lengths: Sequence[int], max_residues: int, token_budget: int) -> Iterator[list[Window]]:
    """Yield batches of windows of at most `token_budget` tokens (two special tokens per window).

    Windows are sorted by length, longest first, so that a budget that does not fit the memory fails
    at once. A window larger than the budget makes a batch of its own.
    """
    windows = [
        window
        for protein, length in enumerate(lengths)
        for window in cut_windows(protein, length, max_residues)
    ]
    windows.sort(key=lambda w: (w.start - w.end, w.protein, w.start))
    batch: list[Window] = []
    tokens = 0
    for window in windows:
        size = window.end - window.start + 2
        if batch and tokens + size > token_budget:
            yield batch
            batch, tokens = [], 0
        batch.append(window)
        tokens += size
    if batch:
        yield batch
