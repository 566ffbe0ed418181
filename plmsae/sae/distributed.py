"""Data-parallel training: each process steps on its share of a batch, all end with equal weights.

Start with ``torchrun --nproc-per-node N``; outside of it everything here does nothing. Gradients,
losses, scaling and running statistics are averaged over the processes, which must have equally many
rows; a latent counts as fired if it fired anywhere. What an architecture chooses within a batch
(BatchTopK, Matryoshka) it chooses within each process's rows.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.sae.base import Sae
from plmsae.sae.config import TrainConfig
from plmsae.sae.data import BatchSource, as_source
from plmsae.sae.scaling import Scaling
from plmsae.sae.step import StepResult

# What one process does while the others wait (a cache, say) may take long; whether one has died is
# for torchrun to notice.
_PATIENCE = timedelta(days=7)


class Place(NamedTuple):
    """Which of how many processes this is."""

    rank: int
    """0-based number of this process."""
    world: int
    """How many there are."""
    device: str
    """The device of this process, for `TrainConfig.device`."""


@contextmanager
def joined() -> Iterator[Place]:
    """Join the processes that ``torchrun`` started; leave them at the end.

    Yields
    ------
    Place
        Rank 0 of 1 where the process was started alone.

    Raises
    ------
    InputError
        If there are more processes than GPUs, or another process ended before this one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Place(0, 1, "auto")
        return
    device = "cpu"
    if torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise InputError(
                f"{local + 1} processes on a machine of {torch.cuda.device_count()} GPUs",
                hint="lower --nproc-per-node",
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    # Its functions take the group there is at import as a default, for good. An optimiser's first
    # step imports it; the threads of a group that it holds run on into the end of the interpreter,
    # which now and then aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group("nccl" if device != "cpu" else "gloo", timeout=_PATIENCE)
    try:
        yield Place(dist.get_rank(), dist.get_world_size(), device)
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "onnection" not in str(error):
            raise
        raise InputError("another of the processes ended; what it said is the cause") from error
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return the number of this process; 0 where it is alone. Rank 0 logs and stores."""
    return dist.get_rank() if _is_shared() else 0


def world() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if _is_shared() else 1


def wait_for_all() -> None:
    """Wait until every process is here."""
    if world() > 1:
        _averaged(torch.zeros(()))


class ShareOfBatches:
    """Each process's rows of batches that all processes make alike; a `BatchSource`.

    Rows ``rank, rank + world, …`` of each batch, of a tensor or of each tensor of a tuple or
    mapping. Where the batches are expensive to make (a running PLM), give each process its own
    proteins instead, and batches of ``batch_size / world`` rows.
    """

    def __init__(self, batches: Iterable[Any] | BatchSource) -> None:
        self._source = as_source(batches)

    def iter_from(self, step: int) -> Iterator[Any]:
        """Yield the shares of the batches from the `step`-th on."""
        for batch in self._source.iter_from(step):
            yield _share(batch)


def share_of(train_config: TrainConfig, place: Place) -> TrainConfig:
    """Return the configuration for one process: its share of the batch, its device.

    Raises
    ------
    InputError
        If the batch does not divide evenly.
    """
    if train_config.batch_size % place.world:
        raise InputError(
            f"batch_size ({train_config.batch_size}) must be a multiple of the number of "
            f"processes ({place.world})"
        )
    # Steps are fixed first: fewer rows per process must not become more steps.
    return replace(
        train_config,
        steps=train_config.total_steps,
        n_vectors=None,
        batch_size=train_config.batch_size // place.world,
        device=place.device if train_config.device == "auto" else train_config.device,
    )


def combine_scaling(scaling: Scaling) -> Scaling:
    """Return the scaling of all processes' rows, from each one's own."""
    if world() == 1:
        return scaling
    width = scaling.mean.numel()
    variance = width / scaling.factor**2
    mean_D = _averaged(scaling.mean.double())
    between = (scaling.mean.double() - mean_D).square().sum()
    variance = float(_averaged(between + variance))
    gamma = float(mean_D.norm()) / variance**0.5
    return Scaling(mean_D.to(scaling.mean), (width / variance) ** 0.5, gamma)


@torch.no_grad()
def combine_start(sae: Sae) -> None:
    """Average what the first batch set (`Sae.begin`)."""
    if world() > 1:
        for tensor in (*sae.parameters(), *sae.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(_averaged(tensor))


@torch.no_grad()
def combine_step(sae: Sae, result: StepResult) -> StepResult:
    """Average gradients, loss and running statistics, and join what fired, before the update."""
    if world() == 1:
        return result
    gradients = [p.grad for p in sae.parameters() if p.grad is not None]
    statistics = [b for b in sae.buffers() if b.is_floating_point()]
    everything = [*gradients, *statistics, result.loss]
    # One message for all: many small ones cost more than their bytes.
    flat = _averaged(torch.cat([t.reshape(-1).float() for t in everything]))
    parts = torch.split(flat, [t.numel() for t in everything])
    for tensor, part in zip(everything[:-1], parts[:-1], strict=True):
        tensor.copy_(part.view_as(tensor))
    fired_F = result.fired.to(torch.uint8)
    dist.all_reduce(fired_F, op=dist.ReduceOp.MAX)
    return result._replace(loss=parts[-1].view_as(result.loss), fired=fired_F.bool())


def _averaged(tensor: Tensor) -> Tensor:
    """Return the mean over the processes; NaN where one has it, so that all notice."""
    backend = dist.get_backend()
    total = tensor.cuda() if backend == "nccl" else tensor.clone()
    dist.all_reduce(total)
    return total.div_(world()).to(tensor.device)


def _share(batch: Any) -> Any:
    if isinstance(batch, Tensor):
        if batch.shape[0] % world():
            raise InputError(
                f"batches of {batch.shape[0]} rows do not divide evenly among {world()} processes"
            )
        return batch[rank() :: world()]
    if isinstance(batch, dict):
        return {key: _share(value) for key, value in batch.items()}
    return tuple(_share(value) for value in batch)


def _is_shared() -> bool:
    return dist.is_available() and dist.is_initialized()
