"""Of what kind features and concepts are, for the registered tables and for the outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from plmsae.workflows.evaluating.annotated import Annotated
from plmsae.workflows.shared.progress import Progress

if TYPE_CHECKING:
    import polars as pl
    from scipy.sparse import csr_array

    from plmsae.concepts.evaluation import Evaluation

_PATTERNS = ("point", "periodic", "short", "medium", "long", "whole", "rare", "dead")


def with_properties(
    data: Annotated,
    evaluation: Evaluation,
    concepts: pl.DataFrame,
    latents: Sequence[csr_array],
    progress: Progress,
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, float]]:
    """Return ``features.parquet`` and ``concepts.parquet`` with more columns, and their metrics.

    See :mod:`plmsae.concepts.property_columns`; all is of the report proteins.
    """
    import polars as pl

    from plmsae.concepts.labels.residue_labels import build_residue_labels
    from plmsae.concepts.property_columns import column_metrics, more_of_concepts, more_of_features

    report = np.flatnonzero(data.split == "report")
    theirs = [latents[int(i)] for i in report]
    evaluated = data.labels.filter(
        pl.col("concept").is_in(evaluation.concepts["concept"].implode())
    )
    lengths = [len(s) for s in data.sequences]
    labels = build_residue_labels(evaluated, data.accessions, lengths).take(report)
    with progress.task("classifying features") as task:
        features = more_of_features(evaluation, theirs, data.clusters[report])
        task.update(1, 2)
        concepts = more_of_concepts(concepts, evaluation, theirs, labels)
        task.update(2, 2)
    return features, concepts, column_metrics(features, concepts)


def property_lines(metrics: Mapping[str, float]) -> list[str]:
    """Return the kinds of features and concepts in words; nothing if they were not classified."""
    counts = {name: int(metrics.get(f"n_features_{name}", 0)) for name in _PATTERNS}
    if not any(counts.values()):
        return []
    shapes = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    lines = [f"shapes of features: {shapes}"]
    named = {
        "n_features_family_specific": "features are one family's own",
        "n_features_shared": "features are confirmed for several concepts",
        "n_concepts_split": "concepts are found by several features",
        "n_concepts_beyond_residue": "concepts found by more than amino acids",
    }
    told = [f"{int(metrics[name])} {words}" for name, words in named.items() if name in metrics]
    return [*lines, "  " + "; ".join(told)] if told else lines
