"""Train a protein language model of one's own, and write it as a Hugging Face folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plmsae.core.errors import printable
from plmsae.core.stopping import kept_if_stopped
from plmsae.tracking.runs import start_run
from plmsae.workflows.shared.device import check_device
from plmsae.workflows.shared.inputs import read_protein_set
from plmsae.workflows.shared.progress import Progress, step
from plmsae.workflows.shared.requests import PretrainRequest, request_params
from plmsae.workflows.training.corpus import training_corpus
from plmsae.workflows.training.plm_training import PlmOutcome, train_plm
from plmsae.workflows.training.pretrain_card import pretrain_card


@dataclass(frozen=True, kw_only=True)
class PretrainOutcome(PlmOutcome):
    """A pretrained PLM, or a checkpoint on the way to it."""

    perplexity: dict[str, dict[str, float]]
    """By held-out file: ``real``, ``shuffled`` and ``unigram``."""

    def lines(self) -> list[str]:
        """Return it in words."""
        lines = [
            f"masked perplexity on {name}: {p['real']:.2f} "
            f"(shuffled {p['shuffled']:.2f}, unigram {p['unigram']:.2f})"
            for name, p in self.perplexity.items()
        ]
        return [*lines, *super().lines()]


def run(request: PretrainRequest, progress: Progress) -> PretrainOutcome:
    """Pretrain; a run found in the output folder is continued.

    Raises
    ------
    InputError
        If the settings or the proteins are wrong, or training diverges.
    QualityError
        If the proteins fail a critical expectation.
    """
    from plmsae.plm.device import choose_device
    from plmsae.plm.export import export_model
    from plmsae.plm.model import load_plm
    from plmsae.plm.pretrain import Pretrainer, kept_checkpoint
    from plmsae.plm.sampling import density_weights

    check_device(request.device)
    config = request.config
    init = None if request.init is None else load_plm(request.init, device="cpu", head=True)
    with (
        start_run(
            experiment="plmsae-pretrain",
            system_metrics=True,
            run_name=f"pretrain {config.n_layers}x{config.d_model}",
            folder=request.out,
        ) as tracked,
        kept_if_stopped(lambda: kept_checkpoint(request.out)),
    ):
        corpus, data = training_corpus(
            request.out / "corpus",
            request.proteins,
            progress,
            run=tracked,
            weigh=density_weights,
            clusters=request.clusters,
            simulated_share=request.simulated_share,
            more={"init": None if init is None else init.revision},
            seed=config.seed,
        )
        tracked.log_params(request_params(request, **data))
        device = choose_device(request.device)
        trainer = Pretrainer(config, corpus, request.out, device=str(device), init=init)
        title = f"pretraining {config.n_layers} × {config.d_model}"
        curve = train_plm(trainer, request, tracked, progress, title)
        model = trainer.averaged_model()
        perplexity = _perplexities(model, request, progress)
        for name, values_of in perplexity.items():
            tracked.log_metrics(
                trainer.step, {f"perplexity_{kind}_{name}": v for kind, v in values_of.items()}
            )
        card = pretrain_card(config, data, trainer.step, curve.points, perplexity)
        folder = export_model(model, request.out / "model", card=card)
        tracked.log_artifact(folder, "model")
    return PretrainOutcome(
        folder=folder,
        steps=trainer.step,
        finished=trainer.step >= config.steps,
        perplexity=perplexity,
    )


def _perplexities(
    model: Any, request: PretrainRequest, progress: Progress
) -> dict[str, dict[str, float]]:
    """Measure masked perplexity on each held-out file: 400 proteins of 50 to 500 residues."""
    from plmsae.plm.model import wrap_model
    from plmsae.plm.perplexity import (
        choose_proteins,
        masked_perplexity,
        shuffled,
        unigram_perplexity,
    )
    from plmsae.plm.vocabulary import esm2_vocabulary

    plm = wrap_model(model, esm2_vocabulary())
    table: dict[str, dict[str, float]] = {}
    for source in request.held_out:
        name = printable(Path(source).name).split(".")[0]
        held_out = read_protein_set(source, progress=progress).sequences
        chosen = choose_proteins(held_out)
        with step(progress, f"perplexity on {name}"):
            table[name] = {
                "real": masked_perplexity(plm, chosen).perplexity,
                "shuffled": masked_perplexity(plm, shuffled(chosen)).perplexity,
                # As in the trials before: the composition of the whole held-out file itself.
                "unigram": unigram_perplexity(held_out, chosen),
            }
    return table
