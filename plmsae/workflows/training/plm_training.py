"""What pretraining and distilling a PLM have in common: the loop and the outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plmsae.core.stopping import stop_requests
from plmsae.core.words import counted
from plmsae.workflows.shared.outcome import Outcome
from plmsae.workflows.training.curve import Curve

if TYPE_CHECKING:
    from plmsae.plm.pretrain import Pretrainer
    from plmsae.tracking.runs import Run
    from plmsae.workflows.shared.progress import Progress
    from plmsae.workflows.shared.requests import DistilRequest, PretrainRequest


@dataclass(frozen=True, kw_only=True)
class PlmOutcome(Outcome):
    """A PLM that was trained, or a checkpoint on the way to it."""

    folder: Path
    """The Hugging Face folder."""
    steps: int
    finished: bool
    """False if the run stopped at its time limit; the same command continues it."""

    def lines(self) -> list[str]:
        """Return it in words."""
        state = "finished" if self.finished else "stopped at its time limit; run again to continue"
        return [f"{counted(self.steps, 'step')}, {state}", f"model in {self.folder}"]


def train_plm(
    trainer: Pretrainer,
    request: PretrainRequest | DistilRequest,
    run: Run,
    progress: Progress,
    title: str,
    *,
    measure: Callable[[], None] | None = None,
    measure_minutes: float = float("inf"),
) -> Curve:
    """Train to the end, the time limit or a signal; return the loss by step.

    `measure` is called every `measure_minutes`.
    """
    curve = Curve(request.out / "curve.json", trainer.step)
    n_steps = request.config.steps
    left = float("inf") if request.max_minutes is None else request.max_minutes
    end = time.monotonic() + 60 * left
    with progress.task(title) as task:

        def on_metrics(step: int, metrics: dict[str, float]) -> None:
            run.log_metrics(step, metrics)
            curve.add(step, round(metrics["train_loss"], 4))
            note = f"loss {metrics['train_loss']:.3f}  {metrics['tokens_per_second']:,.0f} /s"
            task.update(step, n_steps, note)

        while True:
            with stop_requests() as stop:
                trainer.train(
                    on_metrics=on_metrics,
                    checkpoint_minutes=request.checkpoint_minutes,
                    max_minutes=min(measure_minutes, left),
                    stop=stop,
                )
            left = (end - time.monotonic()) / 60
            if trainer.step >= n_steps or left <= 0:
                return curve
            if measure is not None:
                measure()
