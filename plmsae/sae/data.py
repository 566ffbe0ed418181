"""From a stream of activations, protein by protein, to shuffled batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from plmsae.core.errors import InputError


@runtime_checkable
class BatchSource(Protocol):
    """Batches that can be made again from any position, as an exact resume needs."""

    def iter_from(self, step: int) -> Iterator[Tensor]:
        """Yield the batches (B, D) from the 0-based `step`-th on, the same at every call.

        A source with an end starts again after it (another epoch) or stops.
        """
        ...


class ReplayedBatches:
    """Any iterable of batches as a `BatchSource`: what was consumed is iterated over again.

    Parameters
    ----------
    batches : iterable of Tensor, each (B, D)
        If it is an iterator (a generator), it can be read once and must come from its beginning;
        otherwise it is started again when it ends.
    """

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self._batches = batches

    def iter_from(self, step: int) -> Iterator[Tensor]:
        """Yield the batches from the `step`-th on."""
        return islice(self._endless(), step, None)

    def _endless(self) -> Iterator[Tensor]:
        while True:
            empty = True
            for batch in self._batches:
                empty = False
                yield batch
            if empty or isinstance(self._batches, Iterator):
                return


class ShuffledBatches:
    """Batches that mix the rows of many proteins, the same for the same seed; a `BatchSource`.

    A buffer of rows is filled; each batch is then drawn from random places of the buffer and its
    rows are replaced by the next of the stream. So a row stays for ``buffer_rows`` rows on average
    and batches come at an even pace. At the end of the stream the buffer is shuffled and emptied;
    rows that do not fill a batch are left out.

    Parameters
    ----------
    stream : iterable of Tensor, or a function that returns one
        Each item is (n, D), of any n, for example one protein. It is iterated over once an epoch
        and must give the same each time.
    buffer_rows : int
        Rows in the buffer; raised to `batch_size` if it is smaller.
    seed : int
        Seed of the mixing; each epoch is mixed differently.
    """

    def __init__(
        self,
        stream: Iterable[Tensor] | Callable[[], Iterable[Tensor]],
        *,
        batch_size: int,
        buffer_rows: int = 1 << 18,
        seed: int = 0,
    ) -> None:
        if batch_size < 1:
            raise InputError("batch_size must be positive", value=str(batch_size))
        self._stream = stream
        self.batch_size = batch_size
        self.buffer_rows = max(buffer_rows, batch_size)
        self.seed = seed

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the batches of the first epoch."""
        return self._epoch(0)

    def iter_from(self, step: int) -> Iterator[Tensor]:
        """Yield the batches of all epochs from the `step`-th on (those before are made again)."""
        return islice(self._epochs(), step, None)

    def _epochs(self) -> Iterator[Tensor]:
        for epoch in count():
            empty = True
            for batch in self._epoch(epoch):
                empty = False
                yield batch
            if empty or isinstance(self._stream, Iterator):
                return

    def _epoch(self, epoch: int) -> Iterator[Tensor]:
        rng = np.random.default_rng([self.seed, epoch])
        size = self.batch_size
        stream = self._stream() if callable(self._stream) else self._stream
        blocks = _blocks(stream, size)
        filling = list(islice(blocks, -(-self.buffer_rows // size)))
        if not filling:
            return
        buffer_RD = torch.cat(filling)
        del filling
        for block in blocks:
            if block.shape[0] < size:
                buffer_RD = torch.cat((buffer_RD, block))
                break
            places = torch.from_numpy(rng.choice(buffer_RD.shape[0], size=size, replace=False))
            places = places.to(buffer_RD.device)
            yield buffer_RD[places]
            buffer_RD[places] = block
        order = torch.from_numpy(rng.permutation(buffer_RD.shape[0])).to(buffer_RD.device)
        for places in torch.split(order, size):
            if places.numel() == size:
                yield buffer_RD[places]


def shuffled_batches(
    stream: Iterable[Tensor] | Callable[[], Iterable[Tensor]],
    batch_size: int,
    buffer_rows: int = 1 << 18,
    seed: int = 0,
) -> ShuffledBatches:
    """Return `ShuffledBatches` over a stream of (n, D) activations."""
    return ShuffledBatches(stream, batch_size=batch_size, buffer_rows=buffer_rows, seed=seed)


def as_source(batches: Iterable[Tensor] | BatchSource) -> BatchSource:
    """Return `batches` itself if it is a `BatchSource`, else a replaying one."""
    return batches if isinstance(batches, BatchSource) else ReplayedBatches(batches)


def _blocks(stream: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Cut a stream of (n, D) tensors into float32 blocks of `size` rows; the last may be less."""
    parts: list[Tensor] = []
    held = 0
    for item in stream:
        if item.ndim != 2:
            raise InputError(
                "activations must have two dimensions (rows, width)", value=str(tuple(item.shape))
            )
        rows = item.float()
        while held + rows.shape[0] >= size:
            head, rows = rows[: size - held], rows[size - held :]
            yield torch.cat((*parts, head))
            parts, held = [], 0
        if rows.shape[0]:
            parts.append(rows)
            held += rows.shape[0]
    if parts:
        yield torch.cat(parts)
