"""Latents of proteins on disk, for the next command that encodes the same proteins.

A store is a folder of parts, each written whole or not at all. Every part says by which PLM, layer
and SAE it was made and of which sequences, so that commands find what they need whoever wrote it,
whatever the order and the set of the proteins.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plmsae.core.atomic import atomic_folder, json_text
from plmsae.plm.revision import body_revision

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from plmsae.encode import Encoder
    from plmsae.plm.model import Plm

logger = logging.getLogger(__name__)

_INDEX = "index.json"
_ARRAYS = ("data", "indices", "indptr")
UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError)
"""What is raised where a part is damaged."""


def model_fingerprint(encoder: Encoder) -> str:
    """Return the SHA-256 of all that latents depend on beside the sequences."""
    import torch

    plm, sae = encoder.plm, encoder.sae
    facts = {
        "plm": [plm.id, body_revision(plm.revision), plm.vocabulary.fingerprint],
        "numbers": [plm.device.type, str(plm.dtype)],
        "layer": [encoder.layer, encoder.unit],
        "sae": dataclasses.asdict(sae.config),
    }
    digest = hashlib.sha256(json_text(facts).encode())
    for name, tensor in sorted(sae.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_latents(
    folder: Path, model: str, sequences: Sequence[str], latents: Sequence[csr_array]
) -> None:
    """Write the latents of some proteins into the folder of a part.

    Parameters
    ----------
    folder : Path
        Exists; put in its place by the caller.
    model : str
        What `model_fingerprint` returns.
    latents : sequence of csr_array
        One a sequence, of any number of rows.
    """
    from plmsae.concepts.latents import stack_rows

    stacked = stack_rows(latents)
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(stacked, name))
    index = {
        "model": model,
        "n_latents": int(stacked.shape[1]),
        "sequences": [_key(sequence) for sequence in sequences],
        "rows": [int(rows.shape[0]) for rows in latents],
    }
    (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")


def read_latents(folder: Path) -> list[csr_array]:
    """Return the latents of each protein of a part, in the order in which they were written.

    They are mapped from the files, so that memory is taken only by what is looked at, and only
    until the system wants it back.

    Raises
    ------
    one of `UNREADABLE`
        If it is damaged.
    """
    from scipy.sparse import csr_array

    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    data, indices, indptr = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
    if len(indptr) != 1 + sum(index["rows"]) or not len(data) == len(indices) == indptr[-1]:
        raise ValueError("the arrays are of different lengths")
    latents, first = [], 0
    for n_rows in index["rows"]:
        ends = np.array(indptr[first : first + n_rows + 1])
        entries = slice(int(ends[0]), int(ends[-1]))
        latents.append(
            csr_array(
                (data[entries], indices[entries], ends - ends[0]),
                shape=(n_rows, index["n_latents"]),
            )
        )
        first += n_rows
    return latents


def flush_to_disk(folder: Path) -> None:
    """Have the system write the files of a folder, before it is put in its place."""
    for path in folder.iterdir():
        with path.open("rb") as handle:
            os.fsync(handle.fileno())


class StoredEncoder:
    """An encoder that looks into a store first, and adds what it did not find there.

    Latents from the store equal those of the encoder up to the rounding of the PLM, which may
    differ with the proteins that share a batch.

    Parameters
    ----------
    root : Path
        Of the store; it need not exist yet. What is damaged, or of another model, is left alone.
    """

    def __init__(self, encoder: Encoder, root: Path) -> None:
        self.encoder = encoder
        self._model = model_fingerprint(encoder)
        self._root = root
        self._places: dict[str, tuple[Path, int]] = {}
        for path in sorted(root.glob(f"*/part-*/{_INDEX}")):
            try:
                index = json.loads(path.read_text(encoding="utf-8"))
                if index["model"] == self._model:
                    self._know(path.parent, index["sequences"])
            except UNREADABLE as error:
                logger.warning("%s does not open and is not used: %s", path.parent, error)

    @property
    def plm(self) -> Plm:
        """The PLM of the encoder."""
        return self.encoder.plm

    def __contains__(self, sequence: str) -> bool:
        return _key(sequence) in self._places

    def stream(self, sequences: Sequence[str]) -> Iterator[tuple[int, csr_array]]:
        """Yield what `Encoder.stream` does, in another order."""
        numbers: dict[str, list[int]] = {}
        for number, sequence in enumerate(sequences):
            numbers.setdefault(_key(sequence), []).append(number)
        for key, rows in self._read(set(numbers)).items():
            for number in numbers.pop(key):
                yield number, rows
        missing = [(key, sequences[of[0]]) for key, of in numbers.items()]
        made: dict[str, csr_array] = {}
        for position, rows in self.encoder.stream([sequence for _, sequence in missing]):
            key, _ = missing[position]
            made[key] = rows
            for number in numbers[key]:
                yield number, rows
        if missing:
            self._add(dict(missing), [made[key] for key, _ in missing])

    def encode(self, sequences: Sequence[str]) -> list[csr_array]:
        """Return what `Encoder.encode` does, one array per sequence, in input order."""
        return [rows for _, rows in sorted(self.stream(sequences), key=itemgetter(0))]

    def _read(self, keys: set[str]) -> dict[str, csr_array]:
        by_part: defaultdict[Path, list[str]] = defaultdict(list)
        for key in keys & self._places.keys():
            by_part[self._places[key][0]].append(key)
        found: dict[str, csr_array] = {}
        for part, wanted in by_part.items():
            try:
                latents = read_latents(part)
            except UNREADABLE as error:
                logger.warning("%s does not open and is encoded again: %s", part, error)
                for key in wanted:
                    del self._places[key]
                continue
            for key in wanted:
                found[key] = latents[self._places[key][1]]
        return found

    def _add(self, missing: dict[str, str], made: Sequence[csr_array]) -> None:
        name = hashlib.sha256("".join(missing).encode()).hexdigest()[:16]
        part = self._root / self._model / f"part-{name}"
        with atomic_folder(part) as temporary:
            write_latents(temporary, self._model, list(missing.values()), made)
            flush_to_disk(temporary)
        self._know(part, list(missing))

    def _know(self, part: Path, keys: Sequence[str]) -> None:
        for number, key in enumerate(keys):
            self._places[key] = (part, number)


def with_store(encoder: Encoder, root: Path | None) -> Encoder | StoredEncoder:
    """Return the encoder itself, or with the store that a request names."""
    return encoder if root is None else StoredEncoder(encoder, root)


def _key(sequence: str) -> str:
    return hashlib.sha256(sequence.encode()).hexdigest()
