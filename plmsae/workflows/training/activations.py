"""Where training gets its activations: from the PLM as it runs, or from a cache of what it said."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from plmsae.sae.cached import CachedLayers
from plmsae.sae.data import shuffled_batches
from plmsae.sae.distributed import ShareOfBatches, world
from plmsae.sae.prefetch import PrefetchedBatches
from plmsae.workflows.training.kept_activations import KeptActivations
from plmsae.workflows.training.transcoding import KeptRows

if TYPE_CHECKING:
    from plmsae.plm.model import Plm
    from plmsae.sae.data import BatchSource

#: Proteins whose activations are computed at a time.
AT_ONCE = 256
#: Training proteins on which the highest activation of each latent is found.
SAMPLED = 512
#: Bytes of activations that are kept on disk for as long as training needs them.
KEPT_BYTES = 4 << 30


@dataclass(frozen=True, kw_only=True)
class Activations:
    """The activations of the training proteins."""

    batches: BatchSource
    """Shuffled, made ahead in a thread: the trainer waits only where it is the faster one."""
    pick: Callable[[int], Callable[[Any], torch.Tensor]]
    """Gives, for a layer, what takes its rows out of a batch."""
    sample: Callable[[], Iterator[dict[int, torch.Tensor]]]
    """Rows of about `SAMPLED` proteins, by layer."""


def streamed(
    plm: Plm,
    layers: Sequence[int],
    unit: str,
    sequences: list[str],
    *,
    batch_size: int,
    seed: int,
    n_rows: int,
    folder: Path,
) -> Activations:
    """Run the PLM while training.

    On a CPU the residue activations that will be needed again (all, if there is more than one
    epoch; those of `Activations.sample`) are kept in a temporary file, up to `KEPT_BYTES`. Beyond
    that, and on a GPU, each epoch runs the PLM again. Means over residues are few: they are kept in
    memory.

    Parameters
    ----------
    unit : {"residue", "protein"}
    n_rows : int
        Rows that training takes.
    folder : Path
        On whose disk the temporary file lies.
    """
    layers = tuple(layers)
    width = plm.d_model * len(layers)
    lengths = [len(sequence) for sequence in sequences]
    n_kept = len(lengths) if n_rows > sum(lengths) else SAMPLED
    kept = None
    if unit == "residue" and plm.device.type == "cpu":
        kept = _kept(folder, width, sum(lengths[:n_kept]))

    def rows() -> Iterator[torch.Tensor]:
        if kept is not None and len(kept) == len(sequences):
            yield from kept.in_order()
            return
        for index, x in _indexed_stream(plm, layers, unit, sequences, seed):
            joined = torch.cat([x[layer] for layer in layers], dim=1)
            if kept is not None and index < n_kept and index not in kept:
                kept.add(index, joined)
            yield joined

    def sample() -> Iterator[dict[int, torch.Tensor]]:
        missing = []
        for index, sequence in enumerate(sequences[:SAMPLED]):
            if kept is None or index not in kept:
                missing.append(sequence)
                continue
            pieces = torch.split(kept.rows(index), plm.d_model, dim=1)
            yield dict(zip(layers, pieces, strict=True))
        yield from activation_stream(plm, layers, unit, missing, seed)

    batches = shuffled_batches(
        KeptRows(rows) if unit == "protein" else rows,
        batch_size,
        buffer_rows=min(1 << 18, (1 << 28) // width),
        seed=seed,
    )

    def pick(layer: int) -> Callable[[Any], torch.Tensor]:
        first = layers.index(layer) * plm.d_model
        columns = slice(first, first + plm.d_model)
        return lambda rows: rows[:, columns].contiguous()

    return Activations(batches=PrefetchedBatches(batches), pick=pick, sample=sample)


def _kept(folder: Path, width: int, n_rows: int) -> KeptActivations | None:
    """Return where to keep so many rows; None where they take too much."""
    n_bytes = 4 * width * n_rows
    folder.mkdir(parents=True, exist_ok=True)
    if n_bytes > min(KEPT_BYTES, shutil.disk_usage(folder).free // 2):
        return None
    return KeptActivations(folder, width)


def cached(
    folder: Path,
    layers: Sequence[int],
    *,
    n_proteins: int,
    held_out: Sequence[int],
    batch_size: int,
    seed: int,
    pin_memory: bool = False,
) -> Activations:
    """Read a finished cache, of which some layers are used and some proteins are held out.

    Of several processes each gets its share of every batch's rows.

    Parameters
    ----------
    folder : Path
        Made by `activation_cache.fill_cache`.
    n_proteins : int
        In the cache, those held out included.
    held_out : sequence of int
        Their numbers.
    pin_memory : bool
        Whether the batches are for a GPU.
    """
    rows = CachedLayers(
        folder, layers, batch_size=batch_size, seed=seed, without=frozenset(held_out)
    )
    first = next(iter(rows.layers.values()))
    share = min(1.0, SAMPLED / (n_proteins - len(held_out)))
    n_batches = min(math.ceil(share * first.n_rows / batch_size), first.steps_per_epoch)
    return Activations(
        batches=PrefetchedBatches(
            rows if world() == 1 else ShareOfBatches(rows), pin_memory=pin_memory
        ),
        pick=itemgetter,
        sample=lambda: islice(rows.iter_from(0), n_batches),
    )


def activation_stream(
    plm: Plm, layers: Sequence[int], unit: str, sequences: list[str], seed: int
) -> Iterator[dict[int, torch.Tensor]]:
    """Yield the activations of `sequences` by layer, in a random order: (length, D) or (1, D)."""
    for _, states in _indexed_stream(plm, layers, unit, sequences, seed):
        yield states


def _indexed_stream(
    plm: Plm, layers: Sequence[int], unit: str, sequences: list[str], seed: int
) -> Iterator[tuple[int, dict[int, torch.Tensor]]]:
    """Yield what `activation_stream` does, with the index of each sequence."""
    order = np.random.default_rng(seed).permutation(len(sequences))
    for first in range(0, len(order), AT_ONCE):
        chunk = order[first : first + AT_ONCE]
        for number, states in plm.activations([sequences[i] for i in chunk], layers):
            yield int(chunk[number]), of_unit(states, unit)


def in_blocks(
    stream: Iterable[dict[int, torch.Tensor]], n_rows: int = 8192
) -> Iterator[dict[int, torch.Tensor]]:
    """Yield the rows of a stream of activations by layer, at least `n_rows` at a time."""
    waiting: list[dict[int, torch.Tensor]] = []
    held = 0

    def joined() -> dict[int, torch.Tensor]:
        return {layer: torch.cat([x[layer] for x in waiting]) for layer in waiting[0]}

    for states in stream:
        waiting.append(states)
        held += len(next(iter(states.values())))
        if held >= n_rows:
            yield joined()
            waiting, held = [], 0
    if waiting:
        yield joined()


def of_unit(states: dict[int, torch.Tensor], unit: str) -> dict[int, torch.Tensor]:
    """Return residue activations (length, D) as they are, or their means (1, D)."""
    if unit == "protein":
        return {layer: x_ND.mean(0, keepdim=True) for layer, x_ND in states.items()}
    return states
