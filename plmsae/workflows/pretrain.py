"""Train a protein language model of one's own, and write it as a Hugging Face folder."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plmsae.core.atomic import write_json
from plmsae.core.errors import InputError
from plmsae.core.fingerprint import fingerprint_file
from plmsae.proteins.clusters import read_clusters
from plmsae.tracking.runs import start_run
from plmsae.workflows.shared.inputs import ProteinSet, read_protein_set
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import PretrainRequest
from plmsae.workflows.training.pretrain_card import pretrain_card

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from plmsae.plm.corpus import Corpus

#: Members of each simulated family that is mixed in; few, so that many families fit.
FAMILY = 8


@dataclass(frozen=True, kw_only=True)
class PretrainOutcome:
    """A pretrained PLM, or a checkpoint on the way to it."""

    folder: Path
    """The Hugging Face folder."""
    steps: int
    finished: bool
    """False if the run stopped at its time limit; the same command continues it."""
    perplexity: dict[str, dict[str, float]]
    """By held-out file: ``real``, ``shuffled`` and ``unigram``."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**dataclasses.asdict(self), "folder": str(self.folder)}

    def lines(self) -> list[str]:
        """Return it in words."""
        lines = [
            f"masked perplexity on {name}: {p['real']:.2f} "
            f"(shuffled {p['shuffled']:.2f}, unigram {p['unigram']:.2f})"
            for name, p in self.perplexity.items()
        ]
        state = "finished" if self.finished else "stopped at its time limit; run again to go on"
        return [*lines, f"{self.steps:,} steps, {state}", f"model in {self.folder}"]


def run(request: PretrainRequest, progress: Progress) -> PretrainOutcome:
    """Pretrain; a run found in the output folder is continued.

    Raises
    ------
    InputError
        If the settings or the proteins are wrong, or training diverges.
    """
    from plmsae.plm.export import export_model
    from plmsae.plm.model import choose_device
    from plmsae.plm.pretrain import Pretrainer
    from plmsae.plm.pretrain_config import PretrainConfig

    fields = {f.name for f in dataclasses.fields(PretrainConfig)}
    values = {k: v for k, v in dataclasses.asdict(request).items() if k in fields}
    config = PretrainConfig(**values)
    corpus, data = _corpus(request, progress)
    with start_run(
        experiment="plmsae-pretrain",
        run_name=f"pretrain {config.n_layers}x{config.d_model}",
        params={**dataclasses.asdict(config), **data},
    ) as tracked:
        device = choose_device(request.device)
        init = None if request.init is None else Path(request.init)
        trainer = Pretrainer(config, corpus, request.out, device=str(device), init=init)
        curve = _Curve(request.out / "curve.json", trainer.step)
        with progress.task(f"pretraining {config.n_layers} × {config.d_model}") as task:

            def on_metrics(step: int, metrics: dict[str, float]) -> None:
                tracked.log_metrics(step, metrics)
                curve.add(step, metrics["train_loss"])
                note = f"loss {metrics['train_loss']:.3f}  {metrics['tokens_per_second']:,.0f} /s"
                task.update(step, config.steps, note)

            trainer.train(
                on_metrics=on_metrics,
                checkpoint_minutes=request.checkpoint_minutes,
                max_minutes=request.max_minutes,
            )
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


class _Curve:
    """The training loss by step, kept beside the checkpoint so that a resume does not lose it."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.points: list[tuple[int, float]] = []
        if step and path.exists():
            self.points = [(s, v) for s, v in json.loads(path.read_text()) if s <= step]

    def add(self, step: int, loss: float) -> None:
        self.points.append((step, round(loss, 4)))
        write_json(self.path, self.points)


def _corpus(request: PretrainRequest, progress: Progress) -> tuple[Corpus, dict[str, Any]]:
    """Tokenize the corpus once; return it and what it was made of."""
    from plmsae.plm.corpus import open_corpus, write_corpus
    from plmsae.plm.revision import folder_revision
    from plmsae.proteins.simulate import family_stream

    if not 0 <= request.simulated_share < 1:
        raise InputError(
            "must be from 0 to under 1", where="simulated_share", value=str(request.simulated_share)
        )
    sets = [read_protein_set(source, progress=progress) for source in request.proteins]
    data = {
        "data": [dataclasses.asdict(s.fingerprint) for s in sets],
        "clusters": None if request.clusters is None else fingerprint_file(request.clusters),
        "simulated_share": request.simulated_share,
        "simulated_seed": request.seed,
        "init": None if request.init is None else folder_revision(Path(request.init)),
    }
    folder = request.out / "corpus"
    made_of = folder / "made_of.json"
    if made_of.exists() and json.loads(made_of.read_text()) == data:
        return open_corpus(folder), data
    with progress.task("weighing and tokenizing the corpus") as task:
        sequences = [s for group in sets for s in group.sequences]
        weights = _weights(sets, request.clusters, progress)
        task.update(1, 2)
        lengths = np.array([len(sequence) for sequence in sequences])
        wanted = lengths.sum() * request.simulated_share / (1 - request.simulated_share)
        simulated: list[str] = []
        residues = 0
        for family in family_stream(request.seed):
            if residues >= wanted:
                break
            simulated += family[:FAMILY]
            residues += sum(map(len, family[:FAMILY]))
        # The weight of the average residue, so that the share of residues is that of draws, too.
        typical = float(np.average(weights, weights=lengths))
        all_weights = np.concatenate([weights, np.full(len(simulated), typical)])
        corpus = write_corpus(folder, [*sequences, *simulated], all_weights)
        write_json(made_of, data)
        task.update(2, 2)
    return corpus, data


def _weights(
    sets: Sequence[ProteinSet], clusters: Path | None, progress: Progress
) -> NDArray[np.float64]:
    """Weigh the proteins by their clusters, or by how rare their words are."""
    from plmsae.plm.sampling import cluster_weights, density_weights

    if clusters is None:
        return density_weights([s for group in sets for s in group.sequences])
    table = read_clusters(clusters)
    accessions = [p.accession for group in sets for p in group.proteins]
    missing = [accession for accession in accessions if accession not in table]
    if len(missing) == len(accessions):
        raise InputError(
            "none of the proteins is in this table of clusters",
            where=clusters,
            value=accessions[0],
        )
    if missing:
        progress.say(
            f"{len(missing):,} proteins are in no cluster and count as alone ({missing[0]}, …)"
        )
    # A tab cannot be in a cluster's name, so these are clusters of one.
    return cluster_weights([table.get(a, f"\t{a}") for a in accessions])


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
        name = Path(source).name.split(".")[0]
        held_out = read_protein_set(source, progress=progress).sequences
        chosen = choose_proteins(held_out)
        with progress.task(f"perplexity on {name}") as task:
            table[name] = {
                "real": masked_perplexity(plm, chosen).perplexity,
                "shuffled": masked_perplexity(plm, shuffled(chosen)).perplexity,
                # As in the trials before: the composition of the whole held-out file itself.
                "unigram": unigram_perplexity(held_out, chosen),
            }
            task.update(1, 1)
    return table
