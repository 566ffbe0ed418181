"""The SAE and what it must beat, through one protocol, on the concepts that were evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plmsae.tracking import Run
from plmsae.workflows.annotated import Annotated
from plmsae.workflows.progress import Progress
from plmsae.workflows.requests import EvaluateRequest

if TYPE_CHECKING:
    import polars as pl
    from scipy.sparse import csr_array

    from plmsae.concepts.evaluation import Evaluation
    from plmsae.encode import Encoder


def compare(
    request: EvaluateRequest,
    data: Annotated,
    evaluation: Evaluation,
    latents: list[csr_array],
    states: list[NDArray[np.float16]],
    encoder: Encoder,
    progress: Progress,
) -> pl.DataFrame:
    """Return the headline table (:func:`plmsae.concepts.headline.headline_table`), the SAE first.

    Empty if the request wants no baselines.
    """
    import polars as pl

    from plmsae.concepts.baselines import (
        amino_acid_latents,
        shuffle_labels,
        signed_units,
        window_latents,
    )
    from plmsae.concepts.bootstrap import draw_proteins
    from plmsae.concepts.comparison import found_by
    from plmsae.concepts.headline import headline_table
    from plmsae.concepts.residue_labels import build_residue_labels

    if not request.baselines:
        return headline_table([])
    lengths = [len(s) for s in data.sequences]
    evaluated = data.labels.filter(
        pl.col("concept").is_in(evaluation.concepts["concept"].implode())
    )
    labels = build_residue_labels(evaluated, data.accessions, lengths)
    shuffled = build_residue_labels(
        shuffle_labels(labels, request.seed, data.split), data.accessions, lengths
    )
    splits = [np.flatnonzero(data.split == name) for name in ("select", "report")]
    true = [(proteins, labels.take(proteins)) for proteins in splits]
    moved = [(proteins, shuffled.take(proteins)) for proteins in splits]
    weight_PB = draw_proteins(data.clusters[splits[1]], request.bootstrap, request.seed)
    d_sae, d_in = encoder.sae.config.d_sae, encoder.sae.config.d_in
    centre = np.concatenate([states[i].mean(0, keepdims=True) for i in splits[0]])
    centre_D = centre.mean(0).astype(np.float32)

    def neurons(index: int) -> csr_array:
        return signed_units(states[index].astype(np.float32), centre_D)

    def letters(index: int) -> csr_array:
        return amino_acid_latents([data.sequences[index]])[0]

    def windows(index: int) -> csr_array:
        return window_latents([data.sequences[index]])[0]

    methods: list[tuple[str, Any, Any, int]] = [
        ("sae", lambda i: latents[i], true, d_sae),
        ("neuron", neurons, true, 2 * d_in),
        ("sae_shuffled_labels", lambda i: latents[i], moved, d_sae),
        ("amino_acid", letters, true, 26),
        ("window_of_3", windows, true, 22**3),
    ]
    found = []
    with progress.task("running the baselines") as task:
        for number, (name, latents_of, sides, width) in enumerate(methods):
            task.update(number, len(methods), name)
            found.append(found_by(name, latents_of, sides[0], sides[1], width, weight_PB=weight_PB))
        task.update(len(methods), len(methods))
    return headline_table(found)


def log_comparison(tracked: Run, table: pl.DataFrame, out: Path) -> None:
    """Write ``baselines.parquet`` and ``baselines.png``, and log both; nothing without methods."""
    from plmsae.reports.plots_of_methods import plot_methods

    if not table.height:
        return
    table.write_parquet(out / "baselines.parquet")
    plot_methods(table, out / "baselines.png")
    tracked.log_artifact(out / "baselines.parquet", "evaluation")
    tracked.log_artifact(out / "baselines.png", "figures")
