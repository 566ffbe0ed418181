"""Train a small PLM to do what a larger one does, and write it as a Hugging Face folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plmsae.core.stopping import kept_if_stopped
from plmsae.tracking.runs import start_run
from plmsae.workflows.shared.inputs import read_protein_set
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import DistilRequest, request_params
from plmsae.workflows.training.corpus import training_corpus
from plmsae.workflows.training.curve import Curve
from plmsae.workflows.training.distil_card import distil_card
from plmsae.workflows.training.plm_training import PlmOutcome, train_plm

if TYPE_CHECKING:
    from plmsae.plm.distil import Distillation
    from plmsae.plm.model import Plm
    from plmsae.plm.pretrain import Pretrainer

#: Held-out proteins of each file, on the way and at the end.
ON_THE_WAY, AT_THE_END = 60, 400
#: Share of the residues that both see masked, where states on masked proteins are compared.
MASKED = 0.15


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Student and teacher on proteins that neither learned here."""

    perplexity: dict[str, dict[str, float]]
    """By held-out file: ``student``, and ``teacher`` if it has a head."""
    unexplained: dict[str, list[float]]
    """Fraction of the variance of the teacher's states that the student leaves unexplained, by
    layer from 0: ``clean`` and ``masked``."""


@dataclass(frozen=True, kw_only=True)
class DistilOutcome(PlmOutcome):
    """A distilled PLM, or a checkpoint on the way to it."""

    agreement: Agreement | None
    """None without held-out files."""

    def lines(self) -> list[str]:
        """Return it in words."""
        lines: list[str] = []
        if self.agreement is not None:
            for name, values in self.agreement.perplexity.items():
                teacher = f" (teacher {values['teacher']:.2f})" if "teacher" in values else ""
                lines.append(f"masked perplexity on {name}: {values['student']:.2f}{teacher}")
            shares = ", ".join(f"{1 - u:.1%}" for u in self.agreement.unexplained["clean"])
            lines.append(f"variance of the teacher's layers 0, 1, … explained: {shares}")
        return [*lines, *super().lines()]


def run(request: DistilRequest, progress: Progress) -> DistilOutcome:
    """Distil; a run found in the output folder is continued.

    Raises
    ------
    InputError
        If the settings, the proteins or the teacher are wrong, or training diverges.
    QualityError
        If the proteins fail a critical expectation.
    """
    from plmsae.plm.device import choose_device
    from plmsae.plm.export import export_model
    from plmsae.plm.model import load_plm
    from plmsae.plm.pretrain import Pretrainer, kept_checkpoint

    request, objective = _with_teacher(request)
    config, teacher = request.config, objective.teacher
    init = None if request.init is None else load_plm(request.init, device="cpu", head=True)
    with (
        start_run(
            experiment="plmsae-distil",
            system_metrics=True,
            run_name=f"distil {config.n_layers}x{config.d_model} of {teacher.id}",
            folder=request.out,
        ) as tracked,
        kept_if_stopped(lambda: kept_checkpoint(request.out)),
    ):
        corpus, data = training_corpus(
            request.out / "corpus",
            request.proteins,
            progress,
            run=tracked,
            weigh=lambda sequences: np.ones(len(sequences)),
            clusters=request.clusters,
            more=None if init is None else {"init": init.revision},
            seed=config.seed,
        )
        data |= {"teacher": teacher.id, "teacher_revision": teacher.revision}
        tracked.log_params(request_params(request, **data))
        device = str(choose_device(request.device))
        trainer = Pretrainer(
            config, corpus, request.out, device=device, init=init, objective=objective
        )
        measured = Curve(request.out / "measured.json", trainer.step)
        compare = _Comparison(request, objective, progress)

        def measure() -> None:
            if request.held_out:
                found = compare(trainer, ON_THE_WAY)
                measured.add(trainer.step, dataclasses.asdict(found))
                tracked.log_metrics(trainer.step, _flat(found))
                progress.say(f"step {trainer.step:,}: {_in_short(found)}")

        curve = train_plm(
            trainer,
            request,
            tracked,
            progress,
            f"distilling {teacher.id}",
            measure=measure,
            measure_minutes=request.measure_minutes,
        )
        agreement = compare(trainer, AT_THE_END) if request.held_out else None
        if agreement is not None:
            tracked.log_metrics(trainer.step, _flat(agreement))
        card = distil_card(
            config=config,
            losses=request.losses,
            data=data,
            licence=request.teacher_licence,
            steps=trainer.step,
            curve=curve.points,
            measured=measured.points,
            agreement=None if agreement is None else dataclasses.asdict(agreement),
        )
        folder = export_model(trainer.averaged_model(), request.out / "model", card=card)
        tracked.log_artifact(folder, "model")
    return DistilOutcome(
        folder=folder,
        steps=trainer.step,
        finished=trainer.step >= config.steps,
        agreement=agreement,
    )


def _with_teacher(request: DistilRequest) -> tuple[DistilRequest, Distillation]:
    """Open the teacher; return what it has to teach, and the request with its token dropout."""
    import torch

    from plmsae.plm.device import choose_device, native_bf16
    from plmsae.plm.distil import Distillation
    from plmsae.plm.model import load_plm

    device: Any = request.device
    teacher = load_plm(
        request.teacher,
        device=device,
        precision="fp32",
        revision=request.teacher_revision,
        head=True,
    )
    dropout = bool(getattr(teacher.model.config, "token_dropout", False))
    config = dataclasses.replace(request.config, token_dropout=dropout)
    bf16 = config.precision == "bf16" or (
        config.precision == "auto" and native_bf16(choose_device(request.device))
    )
    objective = Distillation(
        teacher,
        request.losses,
        n_layers=config.n_layers,
        d_model=config.d_model,
        dtype=torch.bfloat16 if bf16 else torch.float32,
    )
    return dataclasses.replace(request, config=config), objective


class _Comparison:
    """Compares student and teacher on the held-out files, which are read once."""

    def __init__(self, request: DistilRequest, objective: Distillation, progress: Progress) -> None:
        self.objective = objective
        self.progress = progress
        self.held_out = {
            Path(source).name.split(".")[0]: read_protein_set(source, progress=progress).sequences
            for source in request.held_out
        }
        self._teacher: dict[tuple[str, int], float] = {}

    def __call__(self, trainer: Pretrainer, count: int) -> Agreement:
        from plmsae.plm.agreement import unexplained_by_layer
        from plmsae.plm.model import wrap_model
        from plmsae.plm.perplexity import choose_proteins, masked_perplexity

        student = wrap_model(trainer.averaged_model(), self.objective.teacher.vocabulary)
        perplexity: dict[str, dict[str, float]] = {}
        some: list[str] = []
        with self.progress.task("comparing with the teacher") as task:
            for name, sequences in self.held_out.items():
                chosen = choose_proteins(sequences, count=count)
                some += chosen[:ON_THE_WAY]
                perplexity[name] = {"student": masked_perplexity(student, chosen).perplexity}
                if self.objective.teacher.masked_lm is not None:
                    perplexity[name]["teacher"] = self._of_teacher(name, chosen)
            task.update(1, 2)
            unexplained = {
                "clean": unexplained_by_layer(student, self.objective, some),
                "masked": unexplained_by_layer(student, self.objective, some, masked_share=MASKED),
            }
            task.update(2, 2)
        return Agreement(perplexity=perplexity, unexplained=unexplained)

    def _of_teacher(self, name: str, chosen: list[str]) -> float:
        from plmsae.plm.perplexity import masked_perplexity

        key = name, len(chosen)
        if key not in self._teacher:
            teacher: Plm = self.objective.teacher
            self._teacher[key] = masked_perplexity(teacher, chosen).perplexity
        return self._teacher[key]


def _flat(found: Agreement) -> dict[str, float]:
    """Return the measurements as metrics of MLflow."""
    return {
        f"perplexity_{name}": values["student"] for name, values in found.perplexity.items()
    } | {
        f"unexplained_{inputs}_{layer}": value
        for inputs, values in found.unexplained.items()
        for layer, value in enumerate(values)
    }


def _in_short(found: Agreement) -> str:
    parts = [f"perplexity {v['student']:.2f} on {name}" for name, v in found.perplexity.items()]
    clean = " ".join(f"{u:.3f}" for u in found.unexplained["clean"])
    return f"{', '.join(parts)}; unexplained {clean}"
