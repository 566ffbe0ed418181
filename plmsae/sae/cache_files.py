"""The files of an activation cache: where they lie and what they say.

A cache is a folder::

    cache.json               what it holds; "complete" once it is
    shards/00000.json        which items a shard holds, how many rows each, checksums
    layer-06/00000.safetensors
    layer-12/00000.safetensors

An item is one protein, known by a whole number; it is never split over shards. A shard counts once
its JSON is there, which is written last.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from plmsae.core.atomic import write_json
from plmsae.core.errors import InputError
from plmsae.sae.choices import CacheDtype
from plmsae.sae.formats import read_config

DTYPES: dict[str, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}
TENSOR_NAME = "activations"

_VERSION = 1


class CacheInfo(NamedTuple):
    """What ``cache.json`` says."""

    layers: tuple[int, ...]
    d: int
    """Width of a row."""
    dtype: CacheDtype
    """Type of the stored numbers."""
    source: dict[str, Any]
    """What was run on what: a cache is continued only with the same."""
    complete: bool
    """Whether all items are in."""


class Shard(NamedTuple):
    """What a shard's JSON says."""

    name: str
    """Its number, five digits."""
    items: list[int]
    """The items in it, in the order of their rows."""
    lengths: list[int]
    """Rows of each."""
    sha256: dict[int, str]
    """Checksum of each layer's file."""

    @property
    def n_rows(self) -> int:
        """Rows in all."""
        return sum(self.lengths)


def layer_path(folder: Path, layer: int, shard: str) -> Path:
    """Return where a layer's rows of a shard lie."""
    return folder / f"layer-{layer:02d}" / f"{shard}.safetensors"


def read_info(folder: Path) -> CacheInfo:
    """Read and check ``cache.json``.

    Raises
    ------
    InputError
        If it is missing or malformed.
    """
    path = folder / "cache.json"
    value = read_config(path)
    layers, d = value.get("layers"), value.get("d")
    source = value.get("source")
    good = (
        value.get("version") == _VERSION
        and isinstance(layers, list)
        and all(type(layer) is int and layer >= 0 for layer in layers)
        and type(d) is int
        and d > 0
        and value.get("dtype") in DTYPES
        and isinstance(source, dict)
    )
    if not good or not isinstance(layers, list) or not isinstance(d, int):
        raise InputError("not the description of an activation cache", where=path)
    return CacheInfo(
        tuple(layers), d, value["dtype"], dict(source or {}), value.get("complete") is True
    )


def read_shards(folder: Path) -> list[Shard]:
    """Read all shards' JSON in order.

    Raises
    ------
    InputError
        If one is missing among them or malformed, or an item is in two.
    """
    shards = []
    seen: set[int] = set()
    for number, path in enumerate(sorted((folder / "shards").glob("[0-9]*.json"))):
        value = read_config(path)
        name = f"{number:05d}"
        items, lengths, sums = (value.get(key) for key in ("items", "lengths", "sha256"))
        if (
            path.stem != name
            or not isinstance(items, list)
            or not isinstance(lengths, list)
            or not isinstance(sums, dict)
            or len(items) != len(lengths)
            or not all(type(v) is int for v in (*items, *lengths))
            or min(lengths, default=0) < 0
            or not all(str(key).isdigit() for key in sums)
        ):
            raise InputError(f"not shard {name} of an activation cache", where=path)
        if len(set(items)) != len(items) or not seen.isdisjoint(items):
            raise InputError("an item is in the cache twice", where=path)
        seen.update(items)
        shards.append(Shard(name, items, lengths, {int(k): str(v) for k, v in sums.items()}))
    return shards


def write_info(folder: Path, info: CacheInfo) -> None:
    """Write ``cache.json``."""
    value = info._asdict() | {"version": _VERSION, "layers": list(info.layers)}
    write_json(folder / "cache.json", value)
