"""Writing residue activations to disk, once for several layers.

Killed at any moment, a writer has lost only the items after the last shard, and knows which. What
lies where is said in `cache_files`; reading is in `cached`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from plmsae.core.atomic import atomic_path, write_json
from plmsae.core.errors import InputError, ResourceError
from plmsae.sae.cache_files import (
    DTYPES,
    TENSOR_NAME,
    CacheInfo,
    Shard,
    layer_path,
    read_info,
    read_shards,
    write_info,
)
from plmsae.sae.choices import CacheDtype

if sys.platform != "win32":
    # There nothing keeps two writers apart.
    import fcntl

logger = logging.getLogger(__name__)

_LOCK = ".lock"
# A safetensors header, the shard's JSON and what the file system rounds up.
_BYTES_A_SHARD = 1 << 14
_BYTES_AN_ITEM = 24


def estimate_bytes(
    n_rows: int,
    d: int,
    *,
    n_layers: int = 1,
    dtype: CacheDtype = "float16",
    n_items: int = 0,
    shard_rows: int = 1 << 18,
) -> int:
    """Return how many bytes of disk a cache of `n_rows` residues in `n_items` proteins needs."""
    numbers = n_rows * d * n_layers * DTYPES[dtype].itemsize
    # Shards close before the item that would overfill them: count some more than fit.
    n_shards = 2 * -(-n_rows // shard_rows) + 1
    return numbers + n_shards * (n_layers + 1) * _BYTES_A_SHARD + n_items * _BYTES_AN_ITEM


def check_disk(folder: Path, n_bytes: int) -> None:
    """Log what will be needed; refuse where the disk has less.

    Raises
    ------
    InputError
        If less than `n_bytes` are free where `folder` is or would be.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    logger.info("the activations need %.1f GiB of %.1f GiB free", n_bytes / 2**30, free / 2**30)
    if n_bytes > free:
        raise ResourceError(
            f"the activations need {n_bytes / 2**30:.1f} GiB, the disk has {free / 2**30:.1f}",
            where=folder,
            hint="take fewer layers or proteins, or another disk",
        )


class CacheWriter:
    """Writes a cache, or continues one.

    Parameters
    ----------
    folder : Path
        Where; created if it is missing.
    layers : iterable of int
        The layers that each item brings.
    d : int
        Width of a row.
    dtype : {"float16", "bfloat16", "float32"}
        How numbers are stored.
    shard_rows : int
        Most rows of a shard (an item that alone has more gets one of its own).
    source : mapping, optional
        JSON-ready: PLM, revision, checksum of the sequences. Continuing requires the same.

    Attributes
    ----------
    done : set of int
        Items that are safely stored; do not add them again.

    Raises
    ------
    InputError
        If the folder holds a cache of something else.

    Examples
    --------
    >>> with CacheWriter(folder, [4, 6], 320) as cache:  # doctest: +SKIP
    ...     missing = [i for i in range(len(sequences)) if i not in cache.done]
    ...     for j, acts in plm.activations([sequences[i] for i in missing], [4, 6]):
    ...         cache.add(missing[j], acts)
    """

    def __init__(
        self,
        folder: Path | str,
        layers: Iterable[int],
        d: int,
        *,
        dtype: CacheDtype = "float16",
        shard_rows: int = 1 << 18,
        source: Mapping[str, Any] | None = None,
    ) -> None:
        if dtype not in get_args(CacheDtype):
            raise InputError("unknown cache dtype", value=str(dtype), hint="/".join(DTYPES))
        if shard_rows < 1 or d < 1:
            raise InputError("shard_rows and d must be positive")
        self.folder = Path(folder)
        self._lock: BinaryIO | None = None
        self.info = CacheInfo(tuple(sorted(set(layers))), d, dtype, dict(source or {}), False)
        if not self.info.layers:
            raise InputError("a cache needs at least one layer")
        self.shard_rows = shard_rows
        self._held: list[tuple[int, dict[int, Tensor]]] = []
        self._held_rows = 0
        self._start()

    def _start(self) -> None:
        self._take_lock()
        path = self.folder / "cache.json"
        if path.exists():
            stored = read_info(self.folder)
            ours = self.info._replace(complete=stored.complete)
            different = [n for n in CacheInfo._fields if getattr(stored, n) != getattr(ours, n)]
            if different:
                raise InputError(
                    f"the folder holds a cache of another kind: {', '.join(different)}",
                    where=self.folder,
                    hint="choose an empty folder, or the same settings",
                )
            self.info = stored
        else:
            if self.folder.is_dir() and any(p.name != _LOCK for p in self.folder.iterdir()):
                raise InputError("the folder is not empty and not a cache", where=self.folder)
            write_info(self.folder, self.info)
        self._shards = read_shards(self.folder)
        self.done = {item for shard in self._shards for item in shard.items}
        for left_over in self.folder.glob("*/.*.tmp*"):
            left_over.unlink(missing_ok=True)

    def _take_lock(self) -> None:
        """Keep other processes from writing here; the lock goes with this process, even killed."""
        if sys.platform == "win32":
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / _LOCK).open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise InputError("another process is writing this cache", where=self.folder) from error

    def close(self) -> None:
        """Stop without finishing; what is held is not stored."""
        self._held, self._held_rows = [], 0
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def n_rows(self) -> int:
        """Rows safely stored."""
        return sum(shard.n_rows for shard in self._shards)

    def add(self, item: int, activations: Mapping[int, Tensor]) -> None:
        """Add one protein.

        Parameters
        ----------
        item : int
            Its number; none comes twice.
        activations : mapping of int to Tensor (n, d)
            Its residues' activations of each layer (more layers than the cache's are ignored).

        Raises
        ------
        InputError
            If it is there already, a layer is missing or of another shape, or a number does not fit
            the stored type.
        """
        if self.info.complete:
            raise InputError("the cache is complete", where=self.folder)
        if item in self.done or any(item == held for held, _ in self._held):
            raise InputError(f"item {item} is in the cache already", where=self.folder)
        rows = {layer: self._stored_form(item, layer, activations) for layer in self.info.layers}
        lengths = {t.shape[0] for t in rows.values()}
        if len(lengths) != 1:
            raise InputError(f"item {item} has another length in another layer")
        (length,) = lengths
        if self._held and self._held_rows + length > self.shard_rows:
            self._write_shard()
        self._held.append((item, rows))
        self._held_rows += length

    def _stored_form(self, item: int, layer: int, activations: Mapping[int, Tensor]) -> Tensor:
        if layer not in activations:
            raise InputError(f"item {item} has no activations of layer {layer}")
        given = activations[layer]
        if given.ndim != 2 or given.shape[1] != self.info.d:
            raise InputError(
                f"activations of item {item} must have shape (n, {self.info.d})",
                value=str(tuple(given.shape)),
            )
        # A copy even where the type is right: the caller may use its buffer again.
        stored = given.detach().to("cpu", DTYPES[self.info.dtype], copy=True)
        if not torch.isfinite(stored).all():
            fits = bool(torch.isfinite(given).all())
            raise InputError(
                f"activations of item {item}, layer {layer}, "
                + (f"do not fit {self.info.dtype}" if fits else "are not finite"),
                hint="use bfloat16 (--cache-dtype) in an empty folder"
                if fits
                else "run the model in float32 or bfloat16",
            )
        return stored

    def finish(self) -> None:
        """Write what is held and mark the cache complete."""
        if self._held:
            self._write_shard()
        if not self.info.complete:
            self.info = self.info._replace(complete=True)
            write_info(self.folder, self.info)

    def _write_shard(self) -> None:
        name = f"{len(self._shards):05d}"
        sha256 = {}
        for layer in self.info.layers:
            path = layer_path(self.folder, layer, name)
            with atomic_path(path) as temporary:
                rows = torch.cat([rows[layer] for _, rows in self._held])
                save_file({TENSOR_NAME: rows}, temporary)
                with temporary.open("rb") as handle:
                    os.fsync(handle.fileno())
                    sha256[layer] = hashlib.file_digest(handle, "sha256").hexdigest()
        shard = Shard(
            name,
            [item for item, _ in self._held],
            [next(iter(rows.values())).shape[0] for _, rows in self._held],
            sha256,
        )
        write_json(self.folder / "shards" / f"{name}.json", shard._asdict())
        self._shards.append(shard)
        self.done.update(shard.items)
        self._held, self._held_rows = [], 0
        logger.info("cache shard %s: %d rows, %d in all", name, shard.n_rows, self.n_rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self.close()
