"""Activations that will be read again, in a temporary file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch


class KeptActivations:
    """Activations of proteins, in a file that is gone when this object or the process is.

    One thread may add while another reads.

    Parameters
    ----------
    folder : Path
        On whose disk the file lies; made if it is missing.
    width : int
        Values per row.
    """

    def __init__(self, folder: Path, width: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Without a name from the start, so that a killed process leaves nothing behind.
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._width = width
        self._place: dict[int, tuple[int, int]] = {}
        self._end = 0

    def __contains__(self, index: int) -> bool:
        return index in self._place

    def __len__(self) -> int:
        return len(self._place)

    def add(self, index: int, rows: torch.Tensor) -> None:
        """Store the rows (n, width) of a protein, float32, on the CPU."""
        data = rows.contiguous().numpy().data.cast("B")
        written = 0
        while written < len(data):
            written += os.pwrite(self._file.fileno(), data[written:], self._end + written)
        self._place[index] = (self._end, len(data))
        self._end += len(data)

    def rows(self, index: int) -> torch.Tensor:
        """Return the rows of a protein."""
        first, size = self._place[index]
        data = bytearray(size)
        view, read = memoryview(data), 0
        while read < size:
            read += os.preadv(self._file.fileno(), [view[read:]], first + read)
        return torch.from_numpy(np.frombuffer(data, dtype=np.float32).reshape(-1, self._width))

    def in_order(self) -> Iterator[torch.Tensor]:
        """Yield the rows of all proteins as they were added."""
        for index in list(self._place):
            yield self.rows(index)
