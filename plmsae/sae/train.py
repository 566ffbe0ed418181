"""Training SAEs from start, or from their last checkpoints, to the end."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

import torch

from plmsae.core.errors import FormatError, InputError, ResourceError, is_out_of_memory
from plmsae.core.stopping import StopRequest
from plmsae.sae.batch import Batch, training_batch
from plmsae.sae.checkpoints import Checkpoint, latest_checkpoint, load_checkpoint
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.data import BatchSource, as_source
from plmsae.sae.distributed import combine_scaling
from plmsae.sae.run import Probe, TrainingRun, TrainResult
from plmsae.sae.scaling import Scaling, measure_scaling
from plmsae.sae.trainer import Trainer

__all__ = ["Batch", "Job", "TrainResult", "train", "train_many"]

logger = logging.getLogger(__name__)


class Job(NamedTuple):
    """One of several SAEs trained in one pass."""

    config: SaeConfig
    """What is trained."""
    train_config: TrainConfig
    """How; `batch_size` is that of the batches."""
    pick: Callable[[Any], Batch] | None = None
    """Takes this SAE's batch out of a shared one (a layer of several, say); None takes it whole."""
    probe: Probe | None = None
    """More metrics, of the SAE as it stands (for raw activations), on the CPU: called about ten
    times a run, the last after the last step, for what is too slow for every call of
    `on_metrics`."""


def train(
    batches: Iterable[Batch] | BatchSource,
    config: SaeConfig,
    train_config: TrainConfig,
    *,
    on_metrics: Callable[[int, dict[str, float]], None] | None = None,
    checkpoint_dir: Path | None = None,
    resume: bool = False,
) -> TrainResult:
    """Train an SAE on batches of raw activations.

    Parameters
    ----------
    batches : iterable of Tensor (B, d_in), or BatchSource
        An iterable that can be iterated over again is, when it ends before the run does. For a
        transcoder, pairs of what goes in and the activations of the target layer (B, d_target);
        where the target is the change, the difference is taken here.
    config, train_config
        What is trained and how.
    on_metrics : callable, optional
        Called with the number of steps done and the metrics, every `log_every` steps and after the
        last: ``fvu`` (of the batch, about its mean), ``explained_variance``, ``loss``, ``l0``,
        ``dead_share``, ``lr``, ``gamma`` (‖mean‖/‖std‖ of the raw activations),
        ``activation_scale`` (their distance from the mean, root mean square, of the target where
        there is one), ``vectors_per_second`` and ``stall_share`` (share of the time spent waiting
        for batches), both since the last call, or the first batch.
    checkpoint_dir : Path, optional
        Where to keep the last checkpoint.
    resume : bool
        Continue from the checkpoint in `checkpoint_dir`, if there is one. The result has the same
        weights, bit for bit, as a run that was never interrupted (same device and thread count).

    Returns
    -------
    TrainResult

    Raises
    ------
    InputError
        If the batches do not fit or end too early, training diverges, or memory runs out. The last
        checkpoint then stays.
    """
    job = Job(config, train_config)
    return _train_all(batches, [job], [on_metrics], [checkpoint_dir], resume)[0]


def train_many(
    batches: Iterable[Any] | BatchSource,
    jobs: Sequence[Job | tuple[SaeConfig, TrainConfig]],
    *,
    on_metrics: Callable[[int, int, dict[str, float]], None] | None = None,
    checkpoint_dir: Path | None = None,
    resume: bool = False,
    stop: StopRequest | None = None,
) -> list[TrainResult]:
    """Train several SAEs on one pass over the batches.

    Each becomes what `train` alone would make of it, bit for bit. All are in memory at once, and
    the first to fail ends them all; their last checkpoints stay.

    Parameters
    ----------
    batches
        As for `train`; where the jobs have a `pick`, whatever that understands.
    jobs : sequence of Job, or of (config, train_config)
        What is trained and how. They may end at different steps.
    on_metrics : callable, optional
        Called with the 0-based number of the job, its steps and its metrics.
    checkpoint_dir : Path, optional
        Where to keep the last checkpoints, in ``sae-0``, ``sae-1`` and so on.
    resume : bool
        Continue from those checkpoints; a job that was further than another waits for it.
    stop : StopRequest, optional
        Asked after every step; when it has been received, the checkpoints are written and the run
        ends with what `StopRequest.stop` raises. Needs `checkpoint_dir`.

    Returns
    -------
    list of TrainResult
        In the order of the jobs.
    """
    if not jobs:
        raise InputError("there is nothing to train")
    numbers = range(len(jobs))
    return _train_all(
        batches,
        [Job(*job) for job in jobs],
        [_numbered(on_metrics, i) for i in numbers],
        [checkpoint_dir and checkpoint_dir / f"sae-{i}" for i in numbers],
        resume,
        stop,
    )


def _numbered(
    on_metrics: Callable[[int, int, dict[str, float]], None] | None, number: int
) -> Callable[[int, dict[str, float]], None] | None:
    if on_metrics is None:
        return None
    return lambda step, metrics: on_metrics(number, step, metrics)


def _train_all(
    batches: Iterable[Any] | BatchSource,
    jobs: list[Job],
    callbacks: list[Callable[[int, dict[str, float]], None] | None],
    folders: list[Path | None],
    resume: bool,
    stop: StopRequest | None = None,
) -> list[TrainResult]:
    source = as_source(batches)
    found = [
        _newest(folder, job) if resume and folder is not None else None
        for job, folder in zip(jobs, folders, strict=True)
    ]
    first: list[Any] = []
    stream: Iterator[Any] | None = None
    if None in found:
        stream = source.iter_from(0)
        settings = [job.train_config for job in jobs]
        first = list(islice(stream, max(min(s.scale_batches, s.total_steps) for s in settings)))
        stream = chain(first, stream)
    runs = []
    for job, checkpoint, callback, folder in zip(jobs, found, callbacks, folders, strict=True):
        with _out_of_memory_is_said(job):
            trainer = _new(job, first) if checkpoint is None else _resumed(job, checkpoint)
        runs.append(TrainingRun(trainer, callback, folder, job.probe))
        if checkpoint is not None:
            runs[-1].metrics = dict(checkpoint.scalars.get("metrics", {}))
    del first
    position = min(run.steps for run in runs)
    if stream is None:
        stream = source.iter_from(position)
    _run_to_the_end(runs, jobs, stream, position, stop)
    return [run.result() for run in runs]


def _run_to_the_end(
    runs: list[TrainingRun],
    jobs: list[Job],
    stream: Iterator[Any],
    position: int,
    stop: StopRequest | None,
) -> None:
    """Give each batch to the runs that are at its position; those that are further on wait."""
    begin = position
    while active := [(run, job) for run, job in zip(runs, jobs, strict=True) if not run.is_done]:
        start = time.perf_counter()
        batch = next(stream, None)
        waited = time.perf_counter() - start
        if position == begin:
            # Nothing can run ahead of a start: filling a buffer, going to where a run broke off.
            waited = 0.0
            for run in runs:
                run.begin()
        for run, job in active:
            if batch is None:
                raise InputError(
                    f"the batches ended after {run.steps} of {job.train_config.total_steps} steps",
                    hint="give more activations, or an iterable that can be started again",
                )
            if run.steps == position:
                with _out_of_memory_is_said(job):
                    run.take(_own(batch, job), waited)
        position += 1
        if stop is not None and stop.received:
            _save_and_stop(runs, jobs, stop)


def _save_and_stop(runs: list[TrainingRun], jobs: list[Job], stop: StopRequest) -> NoReturn:
    for run in runs:
        run.save()
    steps = min(run.steps for run in runs)
    total = max(job.train_config.total_steps for job in jobs)
    folders = [run.checkpoint_dir for run in runs if run.checkpoint_dir is not None]
    what = f"the checkpoint after step {steps:,} of {total:,}"
    stop.stop(f"{what} is kept in {os.path.commonpath(folders)}")


@contextmanager
def _out_of_memory_is_said(job: Job) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            f"out of memory while training {job.config.d_sae} latents on batches of "
            f"{job.train_config.batch_size}",
            hint="lower batch_size or d_sae",
        ) from error


def _own(batch: Any, job: Job) -> Batch:
    return cast("Batch", batch) if job.pick is None else job.pick(batch)


def _new(job: Job, first: list[Any]) -> Trainer:
    config, settings = job.config, job.train_config
    if not first:
        raise InputError(
            f"there are no batches of {settings.batch_size} to train on",
            hint="give more proteins, or lower batch_size",
        )
    device = _device(settings.device)
    n = min(settings.scale_batches, settings.total_steps)
    pairs = [training_batch(_own(b, job), config, device) for b in first[:n]]
    targets = [target for _, target in pairs if target is not None]
    return Trainer(
        config,
        settings,
        combine_scaling(measure_scaling([x for x, _ in pairs])),
        device,
        combine_scaling(measure_scaling(targets)) if targets else None,
    )


def _newest(root: Path, job: Job) -> Checkpoint | None:
    folder = latest_checkpoint(root)
    if folder is None:
        logger.info("nothing to resume in %s: starting from the beginning", root)
        return None
    logger.info("resuming from %s", folder)
    return load_checkpoint(folder, job.config, job.train_config)


def _resumed(job: Job, checkpoint: Checkpoint) -> Trainer:
    tensors, scalars = checkpoint
    device = _device(job.train_config.device)
    try:
        scaling = Scaling(tensors["mean"], float(scalars["factor"]), float(scalars["gamma"]))
        of_target = None
        if job.config.is_transcoder:
            of_target = Scaling(
                tensors["target_mean"],
                float(scalars["target_factor"]),
                float(scalars["target_gamma"]),
            )
        trainer = Trainer(job.config, job.train_config, scaling, device, of_target)
        trainer.take_state(tensors, scalars)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FormatError("the checkpoint's state is malformed", hint=str(error)) from error
    return trainer


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError("unknown device", value=name) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device is available", value=name, hint="use device='cpu'")
    return device
