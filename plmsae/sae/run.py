"""One SAE's way through the batches: steps, checks, metrics, checkpoints."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from plmsae.core.errors import InputError, TrainingDivergedError
from plmsae.sae import distributed
from plmsae.sae.base import Sae
from plmsae.sae.batch import Batch, training_batch
from plmsae.sae.checkpoints import Checkpoint, save_checkpoint
from plmsae.sae.step import StepResult
from plmsae.sae.throughput import Throughput
from plmsae.sae.trainer import Trainer

logger = logging.getLogger(__name__)

Probe = Callable[[Sae], dict[str, float]]
"""More metrics of an SAE, too slow to measure at every call of `on_metrics`."""

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
    throughput: Throughput
    """Rate and waiting over the whole run, from its first batch to its last step (since the resume,
    if there was one)."""


class TrainingRun:
    """A `Trainer` with what surrounds it; where batches come from is not its business.

    Parameters
    ----------
    trainer : Trainer
        What is trained.
    on_metrics : callable, optional
        Called with the number of steps done and the metrics.
    checkpoint_dir : Path, optional
        Where to keep the last checkpoint.
    probe : Probe, optional
        Called about ten times a run, with the metrics that come next.
    """

    def __init__(
        self,
        trainer: Trainer,
        on_metrics: Callable[[int, dict[str, float]], None] | None,
        checkpoint_dir: Path | None,
        probe: Probe | None = None,
    ) -> None:
        self.trainer = trainer
        self.probe = probe
        self.probed = trainer.step_count
        self.on_metrics = on_metrics
        self.checkpoint_dir = checkpoint_dir
        self.metrics: dict[str, float] = {}
        self.last_checkpoint = time.monotonic()
        # A run begins from scratch, or from a checkpoint.
        self.saved_step = trainer.step_count
        self.window, self.throughput = Throughput(), Throughput()

    @property
    def steps(self) -> int:
        """Steps done, and so the position in the batches."""
        return self.trainer.step_count

    @property
    def is_done(self) -> bool:
        """Whether all steps are done."""
        return self.steps >= self.trainer.train_config.total_steps

    def take(self, batch: Batch, waited: float) -> None:
        """Take one step on a raw batch, for which `waited` seconds were spent."""
        trainer, settings = self.trainer, self.trainer.train_config
        x_BD, target_BD = training_batch(batch, trainer.config, trainer.sae.device)
        lr = trainer.lr
        result, seen_BD = trainer.step(x_BD, target_BD)
        vectors = x_BD.shape[0] * distributed.world()
        self.window.add(vectors, waited)
        logs = self.steps % settings.log_every == 0 or self.is_done
        saves = self._checkpoint_is_due()
        if logs or saves or trainer.sae.device.type == "cpu":
            self._check_finite(result, seen_BD)
        if logs or saves:
            fvu = self._fvu(result, seen_BD, lr)
        if logs:
            self._log(result, fvu, lr, seen_BD.shape[0])
        if saves:
            self.save()
        self.throughput.add(vectors, waited)

    def result(self) -> TrainResult:
        """Return what has been trained."""
        return TrainResult(self.trainer.finished_sae(), self.metrics, self.steps, self.throughput)

    def _check_finite(self, result: StepResult, x_BD: Tensor) -> None:
        if torch.isfinite(result.loss):
            return
        if not torch.isfinite(x_BD).all():
            raise InputError(
                f"the activations of step {self.steps} hold values that are not finite",
                hint="run the protein language model in float32 or bfloat16, not float16",
            )
        raise TrainingDivergedError(
            f"training diverged: the loss is not finite at step {self.steps}",
            hint=_lower(self.trainer.lr),
        )

    def _fvu(self, result: StepResult, x_BD: Tensor, lr: float) -> float:
        """Return the FVU of the batch; raise `InputError` where it is beyond repair."""
        variance = (x_BD - x_BD.mean(dim=0)).square().sum(dtype=torch.float64)
        error = result.residual.square().sum(dtype=torch.float64)
        fvu = float(error / variance)
        if fvu > _DIVERGED_FVU:
            raise TrainingDivergedError(
                f"training diverged: FVU is {fvu:.3g} at step {self.steps}", hint=_lower(lr)
            )
        return fvu

    def _log(self, result: StepResult, fvu: float, lr: float, n_rows: int) -> None:
        trainer = self.trainer
        self.metrics = {
            "fvu": fvu,
            "explained_variance": 1 - fvu,
            "loss": float(result.loss),
            "l0": int((result.code.values > 0).sum()) / n_rows,
            "dead_share": trainer.dead_share,
            "lr": lr,
            "gamma": trainer.scaling.gamma,
            "activation_scale": (trainer.target_scaling or trainer.scaling).spread,
            "vectors_per_second": self.window.vectors_per_second,
            "stall_share": self.window.stall_share,
        }
        since = self.steps - self.probed
        due = since >= trainer.train_config.total_steps / 10 or self.is_done
        if self.probe is not None and due:
            self.metrics |= self.probe(trainer.finished_sae())
            self.probed = self.steps
        logger.debug("step %d: %s", self.steps, self.metrics)
        if self.on_metrics is not None and distributed.rank() == 0:
            self.on_metrics(self.steps, dict(self.metrics))
        self.window = Throughput()

    def begin(self) -> None:
        """Measure rate and stalls from now on."""
        self.window, self.throughput = Throughput(), Throughput()

    def _checkpoint_is_due(self) -> bool:
        if self.checkpoint_dir is None or distributed.rank() > 0:
            return False
        waited = time.monotonic() - self.last_checkpoint
        return self.is_done or waited >= 60 * self.trainer.train_config.checkpoint_minutes

    def save(self) -> None:
        """Store a checkpoint, if there is a folder for it and it does not hold this step yet."""
        if self.checkpoint_dir is None or self.steps == self.saved_step:
            return
        trainer = self.trainer
        scalars = trainer.state_scalars() | {"metrics": self.metrics}
        checkpoint = Checkpoint(trainer.state_tensors(), scalars)
        # The loss is of the weights before the step: a step can still break them.
        if not all(t.isfinite().all() for t in checkpoint.tensors.values()):
            raise TrainingDivergedError(
                f"training diverged: the weights are not finite after step {self.steps}",
                hint=_lower(trainer.lr),
            )
        save_checkpoint(self.checkpoint_dir, checkpoint, trainer.config, trainer.train_config)
        self.last_checkpoint = time.monotonic()
        self.saved_step = self.steps


def _lower(lr: float) -> str:
    """Say what to change; a checkpoint goes on only with the settings it was made with."""
    return f"lower lr (now {lr:.2g}) and start again in another folder"
