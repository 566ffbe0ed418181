"""Reading a cache: globally shuffled batches from memory-mapped shards, from any step at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plmsae.core.errors import FormatError, InputError
from plmsae.sae.cache_files import DTYPES, TENSOR_NAME, Shard, layer_path, read_info, read_shards
from plmsae.sae.permutation import Permutation

_HEADER_LIMIT = 1 << 16
_SAFETENSORS_NAMES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
# NumPy has no bfloat16: rows are gathered as integers of the same width.
_CARRIERS: dict[int, np.dtype[np.signedinteger[Any]]] = {
    2: np.dtype(np.int16),
    4: np.dtype(np.int32),
}


class _Runs(NamedTuple):
    """Stretches of rows that are not left out, in the order of the cache."""

    begins: NDArray[np.int64]
    """Where each begins in the cache."""
    ends: NDArray[np.int64]
    """How many rows there are up to its end, those left out not counted."""

    def in_cache(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the rows at `places`, those left out not counted, are in the cache."""
        run = np.searchsorted(self.ends, places, side="right")
        before = np.concatenate(([0], self.ends))[run]
        return self.begins[run] + (places - before)


def _runs(shards: Iterable[Shard], without: Collection[int]) -> _Runs:
    """Join neighbouring items that stay."""
    lengths = np.array([n for shard in shards for n in shard.lengths], dtype=np.int64)
    items = np.array([item for shard in shards for item in shard.items], dtype=np.int64)
    stays = ~np.isin(items, np.fromiter(without, dtype=np.int64)) & (lengths > 0)
    starts = np.cumsum(lengths) - lengths
    first = stays & ~np.concatenate(([False], stays[:-1]))
    number = np.cumsum(first)[stays] - 1
    rows = np.bincount(number, weights=lengths[stays], minlength=int(first.sum()))
    return _Runs(starts[first], np.cumsum(rows).astype(np.int64))


class CachedActivations:
    """One layer of a complete cache as a `BatchSource`.

    Each epoch is one permutation of all residues; a row comes once an epoch, and those that do not
    fill a batch are left out (others each time). A batch depends on seed and step only, and costs
    the same at any step.

    Parameters
    ----------
    folder : Path or str
        A cache written by `CacheWriter`.
    batch_size : int
        Rows per batch.
    seed : int
        Seed of the shuffling.
    verify : bool
        Whether to compare each shard with its checksum when it is first touched.
    without : collection of int
        Items that are left out: as if they were not in the cache.

    Attributes
    ----------
    n_rows, d : int
        Residues (of the items not left out), and the width of a row.

    Raises
    ------
    InputError
        If the cache is incomplete, damaged, or has no such layer, or fewer rows than a batch.
    """

    def __init__(
        self,
        folder: Path | str,
        layer: int,
        *,
        batch_size: int = 2048,
        seed: int = 0,
        verify: bool = True,
        without: Collection[int] = (),
    ) -> None:
        self.folder = Path(folder)
        self.layer = layer
        self.batch_size = batch_size
        self.seed = seed
        info = read_info(self.folder)
        if not info.complete:
            raise InputError("the cache is not complete", where=self.folder, hint="resume it")
        if layer not in info.layers:
            raise InputError(
                f"the cache has no layer {layer}",
                where=self.folder,
                hint=f"it has {', '.join(map(str, info.layers))}",
            )
        self.d = info.d
        self._dtype = info.dtype
        self._verify = verify
        self._shards = [s for s in read_shards(self.folder) if s.n_rows]
        self._starts = np.cumsum([0, *(s.n_rows for s in self._shards)])
        self._maps: list[NDArray[np.signedinteger[Any]] | None] = [None] * len(self._shards)
        self._runs = _runs(self._shards, without)
        self.n_rows = int(self._runs.ends[-1]) if len(self._runs.ends) else 0
        if batch_size < 1 or batch_size > self.n_rows:
            raise InputError(
                f"batch_size must be between 1 and the cache's {self.n_rows} rows",
                where=self.folder,
                value=str(batch_size),
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass over the cache."""
        return self.n_rows // self.batch_size

    def iter_from(self, step: int) -> Iterator[Tensor]:
        """Yield float32 batches (batch_size, d) from the `step`-th on, epoch after epoch."""
        first, place = divmod(step, self.steps_per_epoch)
        for epoch in count(first):
            order = Permutation(self.n_rows, (self.seed, epoch))
            for batch in range(place if epoch == first else 0, self.steps_per_epoch):
                start = batch * self.batch_size
                yield self.rows(order(start, start + self.batch_size))

    def chunks(self, n: int = 4096) -> Iterator[Tensor]:
        """Yield all rows once in the order they were written, float32 (up to `n`, d)."""
        for start in range(0, self.n_rows, n):
            yield self.rows(np.arange(start, min(start + n, self.n_rows)))

    def rows(self, places: NDArray[np.int64]) -> Tensor:
        """Return the rows at 0-based places of what is not left out, float32 (n, d)."""
        places = self._runs.in_cache(places)
        order = np.argsort(places, kind="stable")
        ordered = places[order]
        carrier = _CARRIERS[DTYPES[self._dtype].itemsize]
        gathered = np.empty((len(places), self.d), dtype=carrier)
        # Reading in the order of the disk, one shard after the other.
        bounds = np.searchsorted(ordered, self._starts)
        for i, (begin, end) in enumerate(pairwise(bounds)):
            if begin < end:
                gathered[order[begin:end]] = self._map(i)[ordered[begin:end] - self._starts[i]]
        return torch.from_numpy(gathered).view(DTYPES[self._dtype]).float()

    def _map(self, i: int) -> NDArray[np.signedinteger[Any]]:
        mapped = self._maps[i]
        if mapped is None:
            mapped = self._maps[i] = self._open(i)
        return mapped

    def _open(self, i: int) -> NDArray[np.signedinteger[Any]]:
        shard = self._shards[i]
        path = layer_path(self.folder, self.layer, shard.name)
        shape = (shard.n_rows, self.d)
        hint = "delete the cache and write it again"
        try:
            with path.open("rb") as handle:
                size = int.from_bytes(handle.read(8), "little")
                header = json.loads(handle.read(min(size, _HEADER_LIMIT)))
                handle.seek(0)
                if self._verify:
                    found = hashlib.file_digest(handle, "sha256").hexdigest()
                    if found != shard.sha256.get(self.layer):
                        raise ValueError("it does not match its checksum")
            entry = header[TENSOR_NAME]
            start, stop = entry["data_offsets"]
            itemsize = DTYPES[self._dtype].itemsize
            if (
                tuple(entry["shape"]) != shape
                or entry["dtype"] != _SAFETENSORS_NAMES[self._dtype]
                or stop - start != shape[0] * shape[1] * itemsize
            ):
                raise ValueError("shape or type is not what the cache says")
            return np.memmap(
                path, dtype=_CARRIERS[itemsize], mode="r", offset=8 + size + start, shape=shape
            )
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise FormatError(
                f"the shard cannot be used: {error}", where=path, hint=hint
            ) from error


class CachedLayers:
    """Several layers of a cache as one `BatchSource`: the same residues of each.

    For transcoders, and for several SAEs in one pass (`train_many`, each with its `pick`).

    Parameters
    ----------
    folder : Path or str
        A cache written by `CacheWriter`.
    batch_size, seed, verify, without
        As for `CachedActivations`; a layer's rows are those of that class alone.
    """

    def __init__(
        self,
        folder: Path | str,
        layers: Iterable[int],
        *,
        batch_size: int = 2048,
        seed: int = 0,
        verify: bool = True,
        without: Collection[int] = (),
    ) -> None:
        self.layers = {
            layer: CachedActivations(
                folder, layer, batch_size=batch_size, seed=seed, verify=verify, without=without
            )
            for layer in layers
        }

    def iter_from(self, step: int) -> Iterator[Any]:
        """Yield mappings of layer to float32 batch (batch_size, d) from the `step`-th on."""
        streams = [cached.iter_from(step) for cached in self.layers.values()]
        for batches in zip(*streams, strict=True):
            yield dict(zip(self.layers, batches, strict=True))
