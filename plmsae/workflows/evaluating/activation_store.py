"""Activations and latents of many proteins in one pass of the PLM, in bounded memory."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from plmsae.workflows.shared.progress import Progress

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from plmsae.encode import Encoder

logger = logging.getLogger(__name__)

BUDGET = 2 << 30
"""Bytes of activations kept in memory; more go to a temporary file."""

_LARGEST = float(np.finfo(np.float16).max)


class States(Sequence[NDArray[np.float16]]):
    """The activations of many proteins as float16: item i is (length of protein i, D).

    Parameters
    ----------
    lengths : sequence of int
        Rows of each protein.
    d : int
        D.
    folder : Path
        Where a temporary file may be made; it is gone when the process ends, however it ends.
    budget : int
        Bytes beyond which it is made.

    Raises
    ------
    InputError
        If the disk has no room for it.
    """

    def __init__(
        self, lengths: Sequence[int], d: int, *, folder: Path, budget: int = BUDGET
    ) -> None:
        self._offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))])
        shape = (int(self._offsets[-1]), d)
        n_bytes = 2 * shape[0] * d
        self.on_disk = n_bytes > budget
        self._x_ND: NDArray[np.float16]
        if not self.on_disk:
            self._x_ND = np.empty(shape, dtype=np.float16)
            return
        from plmsae.sae.cache import check_disk

        check_disk(folder, n_bytes)
        folder.mkdir(parents=True, exist_ok=True)
        logger.info("%.1f GiB of activations go to a temporary file", n_bytes / 2**30)
        with tempfile.TemporaryFile(dir=folder, suffix=".states") as handle:
            # The mapping outlives the handle, and the file has no name to be left behind.
            self._x_ND = np.memmap(handle, dtype=np.float16, mode="w+", shape=shape)

    def put(self, index: int, x_ND: NDArray[np.floating]) -> None:
        """Store the activations of one protein; what float16 cannot hold becomes its largest."""
        rows = self._x_ND[self._offsets[index] : self._offsets[index + 1]]
        rows[:] = np.clip(x_ND, -_LARGEST, _LARGEST)

    def __len__(self) -> int:
        """Return the number of proteins."""
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> NDArray[np.float16]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[NDArray[np.float16]]: ...
    def __getitem__(
        self, index: int | slice
    ) -> NDArray[np.float16] | Sequence[NDArray[np.float16]]:
        """Return the activations of a protein, as a view."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        return np.asarray(self._x_ND[self._offsets[at] : self._offsets[at + 1]])


def encode_with_states(
    encoder: Encoder, sequences: list[str], progress: Progress, *, keep: bool, folder: Path
) -> tuple[list[csr_array], Sequence[NDArray[np.float16]]]:
    """Run PLM and SAE once over all proteins.

    Parameters
    ----------
    encoder : Encoder
        Of unit ``residue``.
    sequences : list of str
    keep : bool
        Also keep the activations, for the baselines.
    folder : Path
        Where a temporary file of them may be made.

    Returns
    -------
    latents : list of csr_array, shape (length, F)
    states : sequence of ndarray, dtype=float16, shape (length, D)
        Empty unless `keep`.
    """
    latents: list[csr_array | None] = [None] * len(sequences)
    lengths = [len(sequence) for sequence in sequences]
    states = States(lengths, encoder.sae.config.d_in, folder=folder) if keep else None
    total, done = sum(lengths), 0
    with progress.task(f"encoding {len(sequences)} proteins") as task:
        for index, rows, x_ND in encoder.stream_with_states(sequences):
            latents[index] = rows
            if states is not None:
                states.put(index, x_ND.cpu().numpy())
            done += len(x_ND)
            task.update(done, total)
    return [rows for rows in latents if rows is not None], states if states is not None else []
