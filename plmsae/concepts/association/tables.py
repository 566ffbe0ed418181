"""The tables that are registered with a model, from counts and chosen pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.concepts.association.counts import Counts
from plmsae.concepts.association.selection import BestPairs, score_pairs
from plmsae.concepts.columns import FEATURE_COLUMNS, needed
from plmsae.concepts.latents import Float32

FOUND = 0.5
"""F1 above which a latent detects a concept, on both splits, as in InterPLM's protocol."""
PROMISING = 0.4
"""F1 on select above which a pair is looked at again in every sample of the bootstrap. A pair below
it that passes `FOUND` in a sample is missed there."""


def is_found(f1: Any, f1_select: Any) -> Any:
    """Say whether a pair counts as found: F1 above `FOUND` where it was chosen and on others.

    Of many pairs some are good on one set of proteins by chance.

    Parameters
    ----------
    f1, f1_select : float, ndarray or polars.Expr
        On the report split, and on the select split.
    """
    return (f1 > FOUND) & (f1_select > FOUND)


def feature_table(
    best: BestPairs, report: Counts, scale_F: Float32, density_F: npt.NDArray[np.float64]
) -> pl.DataFrame:
    """Return ``features.parquet``: every latent, dead ones with nulls.

    Parameters
    ----------
    best : BestPairs
        Of the select split.
    report : Counts
        Of the report split.
    scale_F, density_F : ndarray, shape=(F,)
        Maximum, and share of residues on which it fires, of each latent.
    """
    has = best.concept_F >= 0
    concept = np.where(has, best.concept_F, 0)
    scores = score_pairs(report, concept, np.arange(report.n_latents), best.threshold_F)
    frame = pl.DataFrame(
        {
            "latent": np.arange(report.n_latents, dtype=np.int32),
            "density": density_F,
            "max_activation": scale_F.astype(np.float64),
            "dead": scale_F <= 0,
            "concept": pl.Series(report.concepts, dtype=pl.String).gather(concept),
            "threshold": _shown(report.thresholds_T)[best.threshold_F],
            "f1_select": best.f1_F,
            "precision": scores.precision_Q,
            "recall": scores.recall_Q,
            "f1": scores.f1_Q,
            "description": pl.Series([None] * report.n_latents, dtype=pl.String),
        }
    )
    judged = ["concept", "threshold", "f1_select", "precision", "recall", "f1"]
    frame = frame.with_columns(pl.when(pl.Series(has)).then(pl.col(judged)))
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None)).select(needed(FEATURE_COLUMNS))


def concept_table(best: BestPairs, report: Counts) -> pl.DataFrame:
    """Return the part of ``concepts.parquet`` that comes from counts, one row per concept."""
    has = best.latent_C >= 0
    latent = np.where(has, best.latent_C, 0)
    ids = np.arange(len(report.concepts))
    scores = score_pairs(report, ids, latent, best.threshold_C)
    frame = pl.DataFrame(
        {
            "concept": pl.Series(report.concepts, dtype=pl.String),
            "kind": ["span" if span else "site" for span in report.is_span_C],
            "best_latent": latent.astype(np.int32),
            "best_threshold": _shown(report.thresholds_T)[best.threshold_C],
            "n_instances": report.n_instances_C,
            "n_residues": report.n_residues_C,
            "n_proteins": report.n_proteins_C,
            "f1_select": best.f1_C,
            "precision_residue": scores.precision_Q,
            "recall": scores.recall_Q,
            "f1": scores.f1_Q,
        }
    )
    judged = ["best_latent", "best_threshold", "f1_select", "precision_residue", "recall", "f1"]
    frame = frame.with_columns(pl.when(pl.Series(has)).then(pl.col(judged)))
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _shown(thresholds_T: Float32) -> npt.NDArray[np.float64]:
    """Thresholds as a person wrote them: 0.15, not 0.15000000596; equal again as float32."""
    return np.array([float(str(value)) for value in thresholds_T])


def headline(
    features: pl.DataFrame,
    concepts: pl.DataFrame,
    found_I: npt.NDArray[np.bool_],
    instance_iou_I: npt.NDArray[np.float64],
    n_skipped: int,
) -> dict[str, float]:
    """Return the headline numbers of an evaluation, but for what its latents find.

    Features and concepts found are counted by `plmsae.concepts.baselines.comparison`, for the SAE
    as for what it is compared with.
    """
    # Of all proteins: those to choose on, whom the column `dead` is of, are too few to tell.
    n_features, n_dead = features.height, features.filter(pl.col("density") == 0).height
    return {
        "n_latents": n_features,
        "n_dead": n_dead,
        "dead_share": n_dead / n_features,
        "n_concepts": concepts.height,
        "n_concepts_skipped": n_skipped,
        "mean_concept_f1": float(concepts["f1"].fill_null(0).mean() or 0),  # type: ignore[arg-type]
        "n_concepts_precise_90": concepts.filter(pl.col("call_precision_low") >= 0.9).height,
        "instances_found": float(found_I.mean()),
        "instances_iou_50": float((instance_iou_I >= 0.5).mean()),
    }
