"""Training one SAE from start, or from its last checkpoint, to its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from plmsae.errors import InputError
from plmsae.sae.base import Sae
from plmsae.sae.checkpoints import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.data import BatchSource, as_source
from plmsae.sae.normalize import normalize
from plmsae.sae.scaling import Scaling, measure_scaling
from plmsae.sae.step import StepResult
from plmsae.sae.trainer import Trainer

logger = logging.getLogger(__name__)

# Worse by this factor than always answering the mean: no run recovers from there.
_DIVERGED_FVU = 100.0


class TrainResult(NamedTuple):
    """What `train` returns."""

    sae: Sae
    """The trained SAE, for raw activations, on the CPU."""
    metrics: dict[str, float]
    """The metrics of the last step (see `train`)."""
    steps: int
    """Steps done in all, those before a resume included."""


def train(
    batches: Iterable[Tensor] | BatchSource,
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
        An iterable that can be iterated over again is, when it ends before the run does.
    config, train_config
        What is trained and how.
    on_metrics : callable, optional
        Called with the number of steps done and the metrics, every `log_every` steps and after the
        last: ``fvu`` (of the batch, about its mean), ``explained_variance``, ``loss``, ``l0``,
        ``dead_share``, ``lr``, ``gamma`` (‖mean‖/‖std‖ of the raw activations),
        ``vectors_per_second`` and ``stall_share`` (share of the time spent waiting for batches),
        both since the last call.
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
    source = as_source(batches)
    device = _device(train_config.device)
    checkpoint = None
    if resume and checkpoint_dir is not None:
        checkpoint = _newest(checkpoint_dir, config, train_config)
    try:
        if checkpoint is None:
            stream = source.iter_from(0)
            first = list(islice(stream, min(train_config.scale_batches, train_config.total_steps)))
            for batch in first:
                _check_shape(batch, config)
            if not first:
                raise InputError("there are no batches to train on")
            rows = [normalize(batch.float(), config.input_norm).rows for batch in first]
            trainer = Trainer(config, train_config, measure_scaling(rows), device)
            stream = chain(first, stream)
            del first, rows
        else:
            trainer = _trainer_from(checkpoint, config, train_config, device)
            stream = source.iter_from(trainer.step_count)
        run = _Run(trainer, stream, on_metrics, checkpoint_dir)
        if checkpoint is not None:
            run.metrics = dict(checkpoint.scalars.get("metrics", {}))
        return run.to_the_end()
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise InputError(
            f"out of memory while training {config.d_sae} latents on batches of "
            f"{train_config.batch_size}",
            hint="lower batch_size or d_sae",
        ) from error


class _Run:
    """The loop around a `Trainer`: batches in, metrics and checkpoints out."""

    def __init__(
        self,
        trainer: Trainer,
        stream: Iterator[Tensor],
        on_metrics: Callable[[int, dict[str, float]], None] | None,
        checkpoint_dir: Path | None,
    ) -> None:
        self.trainer = trainer
        self.stream = stream
        self.on_metrics = on_metrics
        self.checkpoint_dir = checkpoint_dir
        self.metrics: dict[str, float] = {}
        self.last_checkpoint = time.monotonic()
        self._start_window()

    def to_the_end(self) -> TrainResult:
        trainer, settings = self.trainer, self.trainer.train_config
        total = settings.total_steps
        while trainer.step_count < total:
            batch = self._next_batch()
            lr = trainer.lr
            result, x_BD = trainer.step(batch)
            self.vectors += batch.shape[0]
            step = trainer.step_count
            logs = step % settings.log_every == 0 or step == total
            saves = self._checkpoint_is_due(step == total)
            if logs or saves or trainer.sae.device.type == "cpu":
                self._check_finite(result, x_BD)
            if logs:
                self._log(result, x_BD, lr)
            if saves:
                self._save()
        return TrainResult(trainer.finished_sae(), self.metrics, trainer.step_count)

    def _next_batch(self) -> Tensor:
        start = time.perf_counter()
        batch = next(self.stream, None)
        self.waited += time.perf_counter() - start
        if batch is None:
            raise InputError(
                f"the batches ended after {self.trainer.step_count} of "
                f"{self.trainer.train_config.total_steps} steps",
                hint="give more activations, or an iterable that can be started again",
            )
        _check_shape(batch, self.trainer.config)
        return batch.to(self.trainer.sae.device, torch.float32)

    def _check_finite(self, result: StepResult, x_BD: Tensor) -> None:
        if torch.isfinite(result.loss):
            return
        step = self.trainer.step_count
        if not torch.isfinite(x_BD).all():
            raise InputError(
                f"the activations of step {step} hold values that are not finite",
                hint="run the protein language model in float32 or bfloat16, not float16",
            )
        raise InputError(
            f"training diverged: the loss is not finite at step {step}",
            hint=f"lower lr (now {self.trainer.lr:.2g}) and start again or resume",
        )

    def _log(self, result: StepResult, x_BD: Tensor, lr: float) -> None:
        trainer = self.trainer
        elapsed = max(time.perf_counter() - self.window_start, 1e-9)
        variance = (x_BD - x_BD.mean(dim=0)).square().sum(dtype=torch.float64)
        error = result.residual.square().sum(dtype=torch.float64)
        fvu = float(error / variance)
        self.metrics = {
            "fvu": fvu,
            "explained_variance": 1 - fvu,
            "loss": float(result.loss),
            "l0": int((result.code.values > 0).sum()) / x_BD.shape[0],
            "dead_share": trainer.dead_share,
            "lr": lr,
            "gamma": trainer.scaling.gamma,
            "vectors_per_second": self.vectors / elapsed,
            "stall_share": self.waited / elapsed,
        }
        if fvu > _DIVERGED_FVU:
            raise InputError(
                f"training diverged: FVU is {fvu:.3g} at step {trainer.step_count}",
                hint=f"lower lr (now {lr:.2g}) and start again or resume",
            )
        logger.debug("step %d: %s", trainer.step_count, self.metrics)
        if self.on_metrics is not None:
            self.on_metrics(trainer.step_count, dict(self.metrics))
        self._start_window()

    def _start_window(self) -> None:
        self.window_start = time.perf_counter()
        self.waited = 0.0
        self.vectors = 0

    def _checkpoint_is_due(self, last: bool) -> bool:
        if self.checkpoint_dir is None:
            return False
        waited = time.monotonic() - self.last_checkpoint
        return last or waited >= 60 * self.trainer.train_config.checkpoint_minutes

    def _save(self) -> None:
        assert self.checkpoint_dir is not None  # noqa: S101 (for the type checker)
        trainer = self.trainer
        scalars = trainer.state_scalars() | {"metrics": self.metrics}
        checkpoint = Checkpoint(trainer.state_tensors(), scalars)
        save_checkpoint(self.checkpoint_dir, checkpoint, trainer.config, trainer.train_config)
        self.last_checkpoint = time.monotonic()


def _newest(root: Path, config: SaeConfig, train_config: TrainConfig) -> Checkpoint | None:
    folder = latest_checkpoint(root)
    if folder is None:
        logger.info("nothing to resume in %s: starting anew", root)
        return None
    logger.info("resuming from %s", folder)
    return load_checkpoint(folder, config, train_config)


def _trainer_from(
    checkpoint: Checkpoint, config: SaeConfig, train_config: TrainConfig, device: torch.device
) -> Trainer:
    tensors, scalars = checkpoint
    try:
        scaling = Scaling(tensors["mean"], float(scalars["factor"]), float(scalars["gamma"]))
        trainer = Trainer(config, train_config, scaling, device)
        trainer.take_state(tensors, scalars)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError("the checkpoint's state is malformed", hint=str(error)) from error
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


def _check_shape(batch: Tensor, config: SaeConfig) -> None:
    if batch.ndim != 2 or batch.shape[1] != config.d_in or batch.shape[0] == 0:
        raise InputError(
            f"batches must have shape (n, {config.d_in})", value=str(tuple(batch.shape))
        )
