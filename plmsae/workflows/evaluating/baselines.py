"""The SAE and what it must beat, through one protocol, on the concepts that were evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plmsae.core.atomic import write_parquet
from plmsae.core.errors import InputError
from plmsae.tracking.runs import Run
from plmsae.workflows.evaluating.annotated import Annotated
from plmsae.workflows.evaluating.label_transfer import Transferred
from plmsae.workflows.evaluating.random_baseline import random_encoder, random_latents
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import EvaluateRequest

if TYPE_CHECKING:
    import polars as pl
    from scipy.sparse import csr_array

    from plmsae.concepts.baselines.comparison import Latents
    from plmsae.concepts.baselines.components import Components
    from plmsae.concepts.evaluation import Evaluation
    from plmsae.encode import Encoder

#: Residues that the covariance is summed over, and that ICA is fitted to (more where D is large).
_MOMENT_ROWS = 1_000_000
_ICA_ROWS = 10_000

StatesOf = Callable[[int], NDArray[np.float32]]
"""Gives the (length, D) activations of a protein by its index."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """Something that turns proteins into latents."""

    name: str
    latents_of: Latents
    """Gives the (length, n_latents) latents of a protein by its index."""
    n_latents: int
    note: str = ""
    shuffled: bool = False
    """Whether it is judged on labels that were moved."""


def compare(
    request: EvaluateRequest,
    data: Annotated,
    evaluation: Evaluation,
    latents: Sequence[csr_array],
    states: Sequence[NDArray[np.floating]],
    encoder: Encoder,
    transferred: Transferred,
    progress: Progress,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the headline table (`headline.headline_table`), the SAE first, and `headline.best_f1`.

    Both are empty if the request wants no baselines.

    Parameters
    ----------
    evaluation : Evaluation
        Whose concepts to look for; what it found is the first row.
    latents, states : sequence
        For each protein the latents (length, F) and the activations (length, D); see
        :func:`plmsae.workflows.evaluating.activation_store.encode_with_states`.
    transferred : Transferred
        Labels of the nearest labelled proteins, two more baselines.
    """
    import polars as pl

    from plmsae.concepts.association.bootstrap import Samples
    from plmsae.concepts.baselines.comparison import count_detected
    from plmsae.concepts.baselines.control_latents import shuffle_labels
    from plmsae.concepts.baselines.headline import best_f1, headline_table
    from plmsae.concepts.labels.residue_labels import build_residue_labels

    if request.baselines == "none":
        return headline_table([]), best_f1([])
    lengths = [len(s) for s in data.sequences]
    evaluated = data.labels.filter(
        pl.col("concept").is_in(evaluation.concepts["concept"].implode())
    )
    labels = build_residue_labels(evaluated, data.accessions, lengths)
    shuffled = build_residue_labels(
        shuffle_labels(labels, request.seed, data.split), data.accessions, lengths
    )
    splits = [np.flatnonzero(data.split == name) for name in ("select", "report")]
    select_group, report_group = (data.clusters[proteins] for proteins in splits)
    samples = Samples.of(select_group, report_group, request.bootstrap, request.seed)

    def states_of(index: int) -> NDArray[np.float32]:
        return states[index].astype(np.float32)

    n_methods = (8 if request.baselines == "all" else 5) + len(transferred.calls)
    found = [evaluation.detection]
    with progress.task("running the baselines") as task:
        methods = _methods(request, data, latents, states_of, encoder, transferred, progress)
        for number, method in enumerate(methods, start=1):
            task.update(number, n_methods, method.name)
            table = shuffled if method.shuffled else labels
            select, report = ((proteins, table.take(proteins)) for proteins in splits)
            found.append(
                count_detected(
                    method.name,
                    method.latents_of,
                    select,
                    report,
                    method.n_latents,
                    samples=samples,
                    note=method.note,
                )
            )
        task.update(n_methods, n_methods)
    return headline_table(found), best_f1(found[1:])


def check_baselines(request: EvaluateRequest) -> None:
    """Raise `InputError` for settings that the baselines cannot run with."""
    if request.baselines == "all" and request.random_vectors < 64:
        raise InputError(
            "the SAE of the random PLM needs 64 residues at least",
            where="--random-vectors",
            value=str(request.random_vectors),
            hint="--baselines fast leaves it out",
        )


def _methods(
    request: EvaluateRequest,
    data: Annotated,
    latents: Sequence[csr_array],
    states_of: StatesOf,
    encoder: Encoder,
    transferred: Transferred,
    progress: Progress,
) -> Iterator[Method]:
    """Yield the baselines one by one, so that each can be forgotten after its turn."""
    from plmsae.concepts.association.signed_counts import SignedUnits
    from plmsae.concepts.baselines.control_latents import (
        amino_acid_latents,
        window_latents,
    )
    from plmsae.concepts.baselines.label_transfer import as_latents

    config = encoder.sae.config
    select = np.flatnonzero(data.split == "select")
    mean_D, components = _fit(request, select, states_of)
    yield Method(
        name="neuron",
        latents_of=SignedUnits(values_of=lambda i: states_of(i) - mean_D, n_units=config.d_in),
        n_latents=2 * config.d_in,
    )

    def projected(fitted: Components) -> SignedUnits:
        return SignedUnits(
            values_of=lambda i: fitted.project(states_of(i)), n_units=len(fitted.directions_KD)
        )

    for name, fitted in components.items():
        yield Method(
            name=name,
            latents_of=projected(fitted),
            n_latents=fitted.n_latents,
            note=fitted.note,
        )
    if request.baselines == "all":
        n_residues = sum(len(data.sequences[i]) for i in select)
        l0 = sum(latents[int(i)].nnz for i in select) / max(n_residues, 1)
        random, note = random_encoder(request, data, encoder, l0, progress)
        with random_latents(request, random, data, progress) as theirs:
            yield Method(
                name="random_plm_sae",
                latents_of=theirs,
                n_latents=config.d_sae,
                note=note,
            )
        del random, theirs
    yield Method(
        name="sae_shuffled_labels",
        latents_of=latents.__getitem__,
        n_latents=config.d_sae,
        shuffled=True,
    )
    yield Method(
        name="amino_acid",
        latents_of=lambda i: amino_acid_latents([data.sequences[i]])[0],
        n_latents=26,
    )
    yield Method(
        name="window_of_3",
        latents_of=lambda i: window_latents([data.sequences[i]])[0],
        n_latents=22**3,
    )
    for name, calls in transferred.calls.items():
        lengths = [len(sequence) for sequence in data.sequences]
        yield Method(
            name=name,
            latents_of=as_latents(calls, transferred.concepts, lengths).__getitem__,
            n_latents=len(transferred.concepts),
            note=transferred.notes[name],
        )


def _fit(
    request: EvaluateRequest, select: NDArray[np.int64], states_of: StatesOf
) -> tuple[NDArray[np.float32], dict[str, Components]]:
    """Return the mean over select residues and, if wanted, their components by method."""
    from plmsae.concepts.baselines.components import (
        independent_components,
        moments,
        principal_components,
    )

    rng = np.random.default_rng([request.seed, 11])
    chosen: list[int] = []
    rows = 0
    for index in rng.permutation(select):
        if rows >= _MOMENT_ROWS:
            break
        chosen.append(int(index))
        rows += len(states_of(int(index)))
    seen = moments(states_of(index) for index in chosen)
    mean_D = seen.mean_D.astype(np.float32)
    if request.baselines != "all":
        return mean_D, {}
    wanted = min(1.0, max(_ICA_ROWS, 8 * len(seen.mean_D)) / rows)
    sample = [x_ND[rng.random(len(x_ND)) < wanted] for x_ND in map(states_of, chosen)]
    components = {
        "pca": principal_components(seen),
        "ica": independent_components(seen, np.concatenate(sample), seed=request.seed),
    }
    return mean_D, components


def log_comparison(tracked: Run, table: pl.DataFrame, out: Path) -> None:
    """Write ``baselines.parquet`` and ``baselines.png``, and log both; nothing without methods."""
    from plmsae.reports.plots_of_methods import plot_methods

    if not table.height:
        return
    write_parquet(out / "baselines.parquet", table)
    plot_methods(table, out / "baselines.png")
    tracked.log_table(out / "baselines.parquet", "evaluation")
    tracked.log_artifact(out / "baselines.png", "figures")
