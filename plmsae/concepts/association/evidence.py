"""How sure a concept's best pair is: what stands beside the columns of ``concepts.parquet``.

Everything is of the report split, for the pair and threshold that the select split chose; the one
exception is the exact threshold, which is fitted on select and scored on report like the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.association.bootstrap import draw_proteins, percentile_interval
from plmsae.concepts.association.chance import f1_always_on, f1_by_chance
from plmsae.concepts.association.pairs import count_by_group, gather_pairs
from plmsae.concepts.association.ranking import rank_pairs
from plmsae.concepts.association.residue_control import identity_control
from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import Int64


@dataclass(frozen=True, kw_only=True)
class Split:
    """The proteins of one split."""

    latents: Sequence[csr_array]
    """Raw activations, one array per protein."""
    labels: ResidueLabels
    clusters: Int64 | None = None
    """Homology cluster of each protein."""
    sequences: Sequence[str] | None = None

    def cluster_P(self) -> Int64:
        """Return the cluster of each protein; without clusters each is one of its own."""
        return np.arange(len(self.latents)) if self.clusters is None else self.clusters


def gather_evidence(
    concepts: pl.DataFrame,
    select: Split,
    report: Split,
    max_activation_F: npt.ArrayLike,
    *,
    draws: int = 0,
    seed: int = 0,
) -> pl.DataFrame:
    """Judge the best pair of every concept in depth.

    Parameters
    ----------
    concepts : polars.DataFrame
        Columns ``concept``, ``best_latent``, ``best_threshold``; one row for each concept of
        the labels, in their order.
    select, report : Split
        Where the pairs were chosen, and where they are measured.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent.
    draws, seed : int
        Bootstrap samples, of clusters if the report split has them, else of proteins; none by
        default, and then ``f1_low`` and ``f1_high`` are null.

    Returns
    -------
    polars.DataFrame
        One row per concept: ``concept``, ``best_latent``, ``f1_low``, ``f1_high`` (95 %, of this
        pair at this threshold), ``f1_always_on``, ``f1_chance``, ``f1_lift`` with its ends
        (:mod:`plmsae.concepts.association.chance`), ``prevalence``, ``average_precision``,
        ``auroc`` (by residue), ``exact_threshold``, ``exact_f1``, and, if
        the report split has sequences, the columns of
        `residue_control.identity_control`. Null for concepts without a latent.
    """
    chosen = concepts.with_row_index("id").filter(pl.col("best_latent").is_not_null())
    ids, latent = chosen["id"].to_numpy(), chosen["best_latent"].to_numpy()
    threshold = chosen["best_threshold"].to_numpy()
    fitted = rank_pairs(gather_pairs(select.latents, select.labels, ids, latent, max_activation_F))
    pairs = gather_pairs(report.latents, report.labels, ids, latent, max_activation_F)
    ranking = rank_pairs(pairs)
    labels = report.labels
    counts = count_by_group(pairs, threshold)
    weight_PB = draw_proteins(report.cluster_P(), draws, seed)
    f1_QB, f1 = counts.f1(weight_PB.astype(np.float64)), counts.f1()
    always_on = f1_always_on(labels, ids, np.ones((len(labels.accessions), 1)))[:, 0]
    low, high = percentile_interval(f1_QB)
    lift_low, lift_high = percentile_interval(f1_QB - f1_always_on(labels, ids, weight_PB))
    frame = pl.DataFrame(
        {
            "concept": chosen["concept"],
            "best_latent": chosen["best_latent"],
            "f1_low": low,
            "f1_high": high,
            "f1_always_on": always_on,
            "f1_chance": f1_by_chance(labels, ids, counts.fires_QG.sum(axis=1) / labels.n_rows),
            "f1_lift": f1 - always_on,
            "f1_lift_low": lift_low,
            "f1_lift_high": lift_high,
            "prevalence": labels.residues_C()[ids] / labels.n_rows,
            "average_precision": ranking.average_precision_Q,
            "auroc": ranking.auroc_Q,
            "exact_threshold": fitted.threshold_Q,
            "exact_f1": count_by_group(pairs, fitted.threshold_Q, _one_group(report)).f1(),
        }
    ).with_columns(pl.col(pl.Float64).fill_nan(None))
    if report.sequences is not None:
        control = identity_control(pairs, threshold, report.sequences)
        frame = pl.concat([frame, control], how="horizontal")
    return concepts.select("concept").join(frame, on="concept", how="left", maintain_order="left")


def _one_group(split: Split) -> Int64:
    return np.zeros(len(split.latents), dtype=np.int64)
