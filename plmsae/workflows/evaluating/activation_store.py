"""Latents and activations of many proteins in one pass of the PLM, in parts that a kill leaves."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from plmsae.core.atomic import atomic_folder
from plmsae.core.stopping import CONTINUES, kept_if_stopped
from plmsae.workflows.shared.encoded_store import (
    UNREADABLE,
    flush_to_disk,
    model_fingerprint,
    read_latents,
    write_latents,
)
from plmsae.workflows.shared.progress import Progress

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from plmsae.encode import Encoder

logger = logging.getLogger(__name__)

PART_RESIDUES = 1 << 17
"""Residues after which a part is closed."""

_LARGEST = float(np.finfo(np.float16).max)
_KEY = re.compile(r"[0-9a-f]{64}")
_Arrays = TypeVar("_Arrays")


class EncodedParts:
    """Parts of encoded proteins, each a folder that is there whole or not at all.

    Parameters
    ----------
    root : Path
        Holds one folder, named by the fingerprint of what is encoded; those of anything else are
        removed when it is opened.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.n_parts = 0
        """Parts in all."""
        self._folder = root

    def open(
        self, encoder: Encoder, sequences: Sequence[str], what: str, progress: Progress
    ) -> list[range]:
        """Choose the folder of this PLM, SAE and proteins; return the proteins of each part.

        Parameters
        ----------
        what : str
            Which arrays are kept.
        progress : Progress
            Told how much an earlier run left.
        """
        key = _fingerprint(encoder, sequences, what)
        for entry in self.root.iterdir() if self.root.is_dir() else ():
            if _KEY.fullmatch(entry.name) and entry.name != key:
                shutil.rmtree(entry)
        self._folder = self.root / key
        parts = _parts([len(sequence) for sequence in sequences])
        self.n_parts = len(parts)
        if done := self.n_done:
            progress.say(
                f"{done} of {len(parts)} parts of the encoded proteins are here from an earlier "
                f"run, in {self._folder}"
            )
        return parts

    @property
    def n_done(self) -> int:
        """Parts that are stored."""
        return sum(map(self.has, range(self.n_parts)))

    def has(self, number: int) -> bool:
        """Return whether a part is stored."""
        return self._part(number).is_dir()

    def _part(self, number: int) -> Path:
        return self._folder / f"part-{number:05d}"

    def get(
        self, number: int, write: Callable[[Path], None], read: Callable[[Path], _Arrays]
    ) -> _Arrays:
        """Return a part, written first if it is not there or does not open."""
        folder = self._part(number)
        if self.has(number):
            try:
                return read(folder)
            except UNREADABLE as error:
                logger.warning("%s does not open and is encoded again: %s", folder, error)
                shutil.rmtree(folder)
        with atomic_folder(folder) as temporary:
            write(temporary)
            flush_to_disk(temporary)
        return read(folder)

    def remove(self) -> None:
        """Remove the parts."""
        if self._folder != self.root:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self.root.is_dir() and not any(self.root.iterdir()):
            self.root.rmdir()


@contextmanager
def encoded_parts(root: Path, *, keep: bool) -> Iterator[EncodedParts]:
    """Keep parts of encoded proteins under `root` for as long as the work on them is not done.

    Parameters
    ----------
    keep : bool
        Leave them there at the end, too. They stay in any case if the block fails or is stopped.

    Raises
    ------
    KeyboardInterrupt, Terminated
        If one ends the block, the same with a message that says what is kept.
    """
    store = EncodedParts(root)

    def kept() -> str:
        parts = f"{store.n_done} of {store.n_parts} parts of the encoded proteins"
        return f"{parts} are kept in {root}; {CONTINUES}" if store.n_done else ""

    with kept_if_stopped(kept):
        yield store
    if not keep:
        store.remove()


def _parts(lengths: Sequence[int]) -> list[range]:
    parts, first, residues = [], 0, 0
    for index, length in enumerate(lengths):
        residues += length
        if residues >= PART_RESIDUES or index == len(lengths) - 1:
            parts.append(range(first, index + 1))
            first, residues = index + 1, 0
    return parts


def _fingerprint(encoder: Encoder, sequences: Sequence[str], what: str) -> str:
    """Return the SHA-256 of all that the arrays depend on."""
    digest = hashlib.sha256(f"{model_fingerprint(encoder)} {what} {PART_RESIDUES}".encode())
    for sequence in sequences:
        digest.update(f"{len(sequence)} {sequence}".encode())
    return digest.hexdigest()


def encode_with_states(
    encoder: Encoder,
    sequences: list[str],
    progress: Progress,
    *,
    keep: bool,
    parts: EncodedParts,
    name: str = "",
) -> tuple[list[csr_array], list[NDArray[np.float16]]]:
    """Run PLM and SAE once over all proteins, those of the parts that are stored left out.

    What is returned is mapped from the files of the parts: it takes memory only where it is looked
    at, and only until the system wants it back.

    Parameters
    ----------
    encoder : Encoder
        Of unit ``residue``.
    keep : bool
        Also keep the activations, for the baselines.
    name : str
        Of the task that is shown.

    Returns
    -------
    latents : list of csr_array, shape (length, F)
    states : list of ndarray, dtype=float16, shape (length, D)
        Empty unless `keep`. What float16 cannot hold is its largest.

    Raises
    ------
    InputError
        If the disk has no room for them.
    """
    from plmsae.sae.cache import check_disk

    model = model_fingerprint(encoder)
    lengths = [len(sequence) for sequence in sequences]
    layout = parts.open(encoder, sequences, "states" if keep else "latents", progress)
    if keep:
        missing = [i for n, part in enumerate(layout) if not parts.has(n) for i in part]
        check_disk(parts.root, 2 * encoder.sae.config.d_in * sum(lengths[i] for i in missing))

    def write(folder: Path) -> None:
        latents: list[csr_array | None] = [None] * len(members)
        states: list[NDArray[np.float16] | None] = [None] * len(members)
        chosen = sequences[members.start : members.stop]
        for index, rows, x_ND in encoder.stream_with_states(chosen):
            latents[index] = rows
            if keep:
                clipped = np.clip(x_ND.cpu().numpy(), -_LARGEST, _LARGEST)
                states[index] = clipped.astype(np.float16)
        write_latents(folder, model, chosen, [rows for rows in latents if rows is not None])
        if keep:
            np.save(folder / "states.npy", np.concatenate([x for x in states if x is not None]))

    def read(folder: Path) -> tuple[list[csr_array], NDArray[np.float16] | None]:
        x_ND = np.load(folder / "states.npy", mmap_mode="r") if keep else None
        return read_latents(folder), x_ND

    latents: list[csr_array] = []
    states: list[NDArray[np.float16]] = []
    with progress.task(name or f"encoding {len(sequences)} proteins") as task:
        done, total = 0, sum(lengths)
        for number, members in enumerate(layout):
            rows, x_ND = parts.get(number, write, read)
            latents += rows
            first = 0
            for length in lengths[members.start : members.stop]:
                if x_ND is not None:
                    states.append(np.asarray(x_ND[first : first + length]))
                first += length
            done += first
            task.update(done, total)
    return latents, states


def encode_means(
    encoder: Encoder, sequences: list[str], progress: Progress, *, parts: EncodedParts
) -> tuple[csr_array, NDArray[np.float32]]:
    """Run PLM and SAE once over all proteins, those of the parts that are stored left out.

    Parameters
    ----------
    encoder : Encoder
        Of unit ``protein``.

    Returns
    -------
    latents : csr_array, shape (P, F)
    means : ndarray, dtype=float32, shape (P, D)
        Over residues.
    """
    import torch

    def write(folder: Path) -> None:
        means_PD = np.zeros((len(members), encoder.plm.d_model), dtype=np.float32)
        chosen = sequences[members.start : members.stop]
        for index, states in encoder.plm.activations(chosen, [encoder.layer]):
            means_PD[index] = states[encoder.layer].mean(0).cpu().numpy()
        np.save(folder / "means.npy", means_PD)

    def read(folder: Path) -> NDArray[np.float32]:
        means_PD: NDArray[np.float32] = np.load(folder / "means.npy")
        return means_PD

    found: list[NDArray[np.float32]] = []
    with progress.task(f"encoding {len(sequences)} proteins") as task:
        for number, members in enumerate(parts.open(encoder, sequences, "means", progress)):
            found.append(parts.get(number, write, read))
            task.update(members.stop, len(sequences))
    means_PD = np.concatenate(found)
    return encoder.sae.encode_csr(torch.from_numpy(means_PD)), means_PD
