"""Filling an activation cache from a PLM, once; later trainings on the same proteins read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from plmsae.core.errors import InputError
from plmsae.plm.revision import body_revision
from plmsae.sae.cache import CacheWriter, check_disk, estimate_bytes
from plmsae.sae.cache_files import CacheInfo, read_info, read_shards
from plmsae.sae.choices import CacheDtype
from plmsae.workflows.training.activations import AT_ONCE, of_unit

if TYPE_CHECKING:
    from plmsae.plm.model import Plm
    from plmsae.workflows.shared.inputs import ProteinSet
    from plmsae.workflows.shared.progress import Progress

_OTHER = {
    "plm": "another PLM",
    "plm_revision": "another revision of the PLM",
    "plm_vocabulary": "another vocabulary of the PLM",
    "unit": "another unit",
    "proteins": "other proteins",
}


def fill_cache(
    folder: Path,
    plm: Plm,
    layers: Sequence[int],
    unit: str,
    proteins: ProteinSet,
    progress: Progress,
    *,
    dtype: str | None = None,
) -> None:
    """Make sure that `folder` holds the activations of all proteins at `layers`.

    A finished cache that has these layers, or more, is left as it is and the PLM is not run. One
    that was interrupted is continued at the protein where it was, and ends byte for byte as if it
    had not been. All proteins go in, those held out of some training too: another seed holds out
    others.

    Parameters
    ----------
    folder : Path
        Empty, missing, or a cache of the same.
    unit : {"residue", "protein"}
        Rows are residues, or means over them.
    progress : Progress
        Told the disk needed before anything is written.
    dtype : {"float16", "bfloat16", "float32"}, optional
        By default that of the cache found, or float16.

    Raises
    ------
    InputError
        If the cache is of something else, lacks a layer, or does not fit the disk.
    """
    if dtype is not None and dtype not in get_args(CacheDtype):
        raise InputError(
            "unknown type of cached numbers",
            where="--cache-dtype",
            value=dtype,
            hint=f"one of {', '.join(get_args(CacheDtype))}",
        )
    source = {
        "plm": plm.id,
        "plm_revision": body_revision(plm.revision),
        "plm_vocabulary": plm.vocabulary.fingerprint,
        "unit": unit,
        "proteins": proteins.fingerprint.sha256,
    }
    info = wanted_cache(folder, plm.d_model, layers, dtype, source)
    if info.complete:
        progress.say(f"activations come from the cache {folder}")
        return
    _announce(folder, info, unit, proteins, progress)
    with CacheWriter(folder, info.layers, info.d, dtype=info.dtype, source=info.source) as cache:
        _run(cache, plm, unit, proteins.sequences, progress)


def highest_layer(folder: Path | None, layers: Sequence[int]) -> int:
    """Return the highest layer the PLM must reach: an unfinished cache may hold more than asked."""
    if folder is not None and (folder / "cache.json").exists():
        return max(*layers, *read_info(folder).layers)
    return max(layers)


def cache_dtype(folder: Path, asked: str | None = None) -> str:
    """Return the type of the numbers in a cache: the one asked for, or that of the one there."""
    if asked is None and (folder / "cache.json").exists():
        return read_info(folder).dtype
    return asked or "float16"


def wanted_cache(
    folder: Path, d: int, layers: Sequence[int], dtype: str | None, source: dict[str, Any]
) -> CacheInfo:
    """Return what is there if it will do, else what is to be written.

    Parameters
    ----------
    d : int
        Width of the PLM.
    dtype : str or None
    source : dict
        What the activations are of, or as much of it as is known.

    Raises
    ------
    InputError
        If the cache that is there is of something else.
    """
    if not (folder / "cache.json").exists():
        new: Any = cache_dtype(folder, dtype)
        return CacheInfo(tuple(sorted(layers)), d, new, source, False)
    stored = read_info(folder)
    hint = "give --cache another folder"
    for name, words in _OTHER.items():
        if name in source and stored.source.get(name) != source[name]:
            raise InputError(f"the cache is of {words}", where=folder, hint=hint)
    if stored.d != d:
        raise InputError(
            f"the cache has rows of {stored.d} numbers, the PLM gives {d}", where=folder, hint=hint
        )
    if not set(layers) <= set(stored.layers):
        raise InputError(
            f"the cache has the layers {', '.join(map(str, stored.layers))}",
            where=folder,
            value=", ".join(map(str, layers)),
            hint=hint,
        )
    if dtype not in (None, stored.dtype):
        raise InputError(f"the cache is of {stored.dtype}", where=folder, value=dtype, hint=hint)
    return stored


def _announce(
    folder: Path, info: CacheInfo, unit: str, proteins: ProteinSet, progress: Progress
) -> None:
    n_items = len(proteins.proteins)
    n_rows = n_items if unit == "protein" else sum(map(len, proteins.sequences))
    stored = read_shards(folder) if (folder / "cache.json").exists() else []
    n_rows -= sum(shard.n_rows for shard in stored)
    n_items -= sum(len(shard.items) for shard in stored)
    needed = estimate_bytes(
        n_rows, info.d, n_layers=len(info.layers), dtype=info.dtype, n_items=n_items
    )
    more = "more " if stored else ""
    listed = ", ".join(map(str, info.layers))
    progress.say(f"caching layer {listed} takes {more}{needed / 2**30:.2f} GiB of disk in {folder}")
    check_disk(folder, needed)


def _run(cache: CacheWriter, plm: Plm, unit: str, sequences: list[str], progress: Progress) -> None:
    layers = cache.info.layers
    total = sum(map(len, sequences))
    done = 0
    with progress.task(f"caching activations of {len(sequences)} proteins") as task:
        for first in range(0, len(sequences), AT_ONCE):
            chunk = sequences[first : first + AT_ONCE]
            # One that was interrupted is run again whole: the same batches give the same numbers.
            if not cache.done.issuperset(range(first, first + len(chunk))):
                for index, states in plm.activations(chunk, layers):
                    if first + index not in cache.done:
                        cache.add(first + index, of_unit(states, unit))
            done += sum(map(len, chunk))
            task.update(done, total)
