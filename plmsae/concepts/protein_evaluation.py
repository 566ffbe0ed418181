"""How well single latents call protein-level terms: the residue protocol, a protein being one row.

Enrichment says that a term and a latent have to do with each other; a call needs more: precision.
So the same evaluation that residue concepts go through (pair and threshold on ``select``, F1, calls
and their interval on ``report``) is run with proteins of length one. A protein that does not carry
a term counts as without it, though some only lack the annotation: precision is rather under- than
overstated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.baselines.comparison import Detection, count_detected
from plmsae.concepts.evaluation import Evaluation, Settings, evaluate_residue
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.core.errors import InputError

MOST = 0.25
"""Share of the proteins above which a term is not called: one that always fires would reach F1
2·0.25 / (1 + 0.25) = 0.4 without knowing anything, and more for commoner terms."""

MIN_REPORT = 5
"""Report proteins a term needs to be measured."""


def term_labels(
    terms: pl.DataFrame, accessions: Sequence[str], split: npt.ArrayLike, *, min_instances: int = 10
) -> pl.DataFrame:
    """Return terms as a label table over proteins of one residue, those too common left out.

    Raises
    ------
    InputError
        If none is left that `min_instances` of the select proteins and `MIN_REPORT` of the report
        proteins carry.
    """
    names = pl.DataFrame({"accession": list(accessions), "split": np.asarray(split).tolist()})
    rows = terms.select("accession", "concept").unique().join(names, on="accession")
    size = names.group_by("split").len("of")
    counts = rows.group_by("concept", "split").len("n").join(size, on="split")
    common = counts.filter(pl.col("n") > MOST * pl.col("of"))["concept"].unique()
    rows = rows.filter(~pl.col("concept").is_in(common.implode()))
    least = pl.DataFrame(
        {"split": ["select", "report"], "least": [max(min_instances, 1), MIN_REPORT]}
    )
    enough = counts.filter(~pl.col("concept").is_in(common.implode())).join(least, on="split")
    enough = enough.filter(pl.col("n") >= pl.col("least")).group_by("concept").len("sides")
    if not (enough["sides"] == 2).any():
        raise InputError(
            f"no term is carried by {min_instances} of the proteins to choose on and {MIN_REPORT} "
            f"of those to report on, and by at most {MOST:.0%} of either",
            hint="use more proteins, or a lower minimum of instances",
        )
    return rows.sort("accession", "concept").select(
        "accession",
        pl.lit(1, pl.Int32).alias("start"),
        pl.lit(1, pl.Int32).alias("end"),
        "concept",
        pl.lit("site").alias("kind"),
    )


def evaluate_proteins(
    latents_PF: csr_array,
    accessions: Sequence[str],
    labels: pl.DataFrame,
    split: npt.ArrayLike,
    *,
    clusters: npt.ArrayLike | None = None,
    min_instances: int = 10,
    min_precision: float = 0.8,
    bootstrap: int = 0,
    seed: int = 0,
) -> Evaluation:
    """Evaluate the latents of a protein-level SAE as detectors of terms.

    Parameters
    ----------
    latents_PF : csr_array, shape=(P, F)
        Raw activations, one row per protein.
    labels : polars.DataFrame
        Of `term_labels`.
    others
        See :func:`plmsae.concepts.evaluation.evaluate_residue`.

    Returns
    -------
    Evaluation
        As for residues, with proteins in the place of residues; in ``concepts`` the kind is
        ``protein`` and ``n_residues`` is null.
    """
    evaluation = evaluate_residue(
        rows_of(latents_PF),
        accessions,
        labels,
        split,
        Settings(
            min_instances=min_instances,
            min_report=MIN_REPORT,
            min_precision=min_precision,
            bootstrap=bootstrap,
            seed=seed,
        ),
        clusters=clusters,
    )
    concepts = evaluation.concepts.with_columns(
        pl.lit("protein").alias("kind"),
        pl.lit(None, pl.Int64).alias("n_residues"),
        pl.lit(1, pl.Int32).alias("min_length"),
        pl.lit(0, pl.Int32).alias("max_gap"),
    )
    return replace(evaluation, concepts=concepts)


def rows_of(latents_PF: csr_array) -> list[csr_array]:
    """Return each protein's row as an array of its own, as of a protein of one residue."""
    return [latents_PF[[row]] for row in range(latents_PF.shape[0])]


def found_by_units(
    method: str,
    latents_PF: csr_array,
    accessions: Sequence[str],
    labels: pl.DataFrame,
    split: npt.ArrayLike,
) -> Detection:
    """Count the terms that a method detects at F1 > 0.5 on both splits."""
    laid = build_residue_labels(labels, accessions, [1] * len(accessions))
    sides = [np.flatnonzero(np.asarray(split) == name) for name in ("select", "report")]
    select, report = ((rows, laid.take(rows)) for rows in sides)
    return count_detected(
        method, lambda row: latents_PF[[row]], select, report, int(latents_PF.shape[1])
    )
