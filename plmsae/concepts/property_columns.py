"""What else the two registered tables say of each feature and each concept.

The columns of the bundle say what a feature detects and how well. These say of what kind it is: the
shape of its activations, whether it is a family's own, whether a concept is one latent's or is
split among several, and what is left of its score when the amino acid is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.association.pairs import gather_pairs
from plmsae.concepts.association.tables import FOUND, is_found
from plmsae.concepts.evaluation import Evaluation
from plmsae.concepts.features.family_specificity import family_specificity, pool_maximum
from plmsae.concepts.features.patterns import activation_patterns
from plmsae.concepts.features.splitting import concept_splitting
from plmsae.concepts.labels.residue_labels import ResidueLabels, ids_of

#: Pairs looked at together; each may have an entry on every residue where its latent fires.
_PAIRS = 256


def more_of_features(
    evaluation: Evaluation, latents: Sequence[csr_array], clusters: npt.ArrayLike | None = None
) -> pl.DataFrame:
    """Return ``features.parquet`` with columns on the kind of each latent.

    Parameters
    ----------
    latents : sequence of csr_array, shape=(length, F)
        Of the report proteins.
    clusters : array_like of int, optional
        Their homology clusters.

    Returns
    -------
    polars.DataFrame
        With ``pattern``, ``n_proteins_active``, ``median_run``, ``coverage``, ``period``
        (`features.patterns`), ``n_concepts`` (for how many concepts the latent is
        confirmed), ``n_concepts_beyond_chance`` and, if clusters are given, ``family_f1`` and
        ``family_specific`` (:mod:`plmsae.concepts.features.family_specificity`).
    """
    features = evaluation.features
    patterns = activation_patterns(latents, features["max_activation"].to_numpy())
    confirmed = evaluation.detection.pairs.group_by("latent").agg(
        pl.col("concept").n_unique().cast(pl.Int64).alias("n_concepts"),
        pl.col("beyond_chance").sum().cast(pl.Int64).alias("n_concepts_beyond_chance"),
    )
    frame = (
        features.join(
            patterns.rename({"n_proteins": "n_proteins_active"}),
            on="latent",
            how="left",
            maintain_order="left",
        )
        .join(confirmed, on="latent", how="left", maintain_order="left")
        .with_columns(pl.col("n_concepts", "n_concepts_beyond_chance").fill_null(0))
    )
    if clusters is None:
        return frame
    families = family_specificity(pool_maximum(latents), clusters)
    return frame.with_columns(
        families["f1"].alias("family_f1"),
        families["specific"].fill_null(value=False).alias("family_specific"),
    )


def more_of_concepts(
    concepts: pl.DataFrame,
    evaluation: Evaluation,
    latents: Sequence[csr_array],
    labels: ResidueLabels,
) -> pl.DataFrame:
    """Return ``concepts.parquet`` with the evidence for each concept.

    Parameters
    ----------
    concepts : polars.DataFrame
        With a column ``concept``; columns that it has already are left as they are.
    latents : sequence of csr_array, shape=(length, F)
        Of the report proteins.

    Returns
    -------
    polars.DataFrame
        With the columns of ``evaluation.evidence`` (intervals, q, average precision, AUROC, the
        control for residue identity), and ``found_by_any`` and ``absorbed``
        (:mod:`plmsae.concepts.features.splitting`), null where no pair is confirmed.
    """
    evidence = evaluation.evidence.drop("best_latent").join(
        _splitting(evaluation, latents, labels), on="concept", how="left", maintain_order="left"
    )
    new = [name for name in evidence.columns if name == "concept" or name not in concepts.columns]
    return concepts.join(evidence.select(new), on="concept", how="left", maintain_order="left")


def column_metrics(features: pl.DataFrame, concepts: pl.DataFrame) -> dict[str, float]:
    """Return how many features and confirmed concepts are of which kind.

    Returns
    -------
    dict
        ``n_features_<pattern>``, ``n_features_family_specific``, ``n_features_shared`` (confirmed
        for several concepts), ``n_concepts_split`` (several latents confirmed) and
        ``n_concepts_beyond_residue``: F1 > 0.5 on both splits, but not any more if the residues
        that fire were random ones of the same amino acids.
    """
    metrics = {
        f"n_features_{row['pattern']}": float(row["len"])
        for row in features.group_by("pattern").len().iter_rows(named=True)
    }
    metrics["n_features_shared"] = float((features["n_concepts"] > 1).sum())
    if "family_specific" in features.columns:
        metrics["n_features_family_specific"] = float(features["family_specific"].sum())
    metrics["n_concepts_split"] = float(
        concepts.filter(pl.col("n_latents") > 1)["concept"].n_unique()
    )
    if "precision_expected" in concepts.columns:
        by_chance, recall = pl.col("precision_expected"), pl.col("recall")
        beyond = concepts.filter(
            is_found(pl.col("f1"), pl.col("f1_select"))
            & (2 * by_chance * recall <= FOUND * (by_chance + recall))
        )
        metrics["n_concepts_beyond_residue"] = float(beyond["concept"].n_unique())
    return metrics


def _splitting(
    evaluation: Evaluation, latents: Sequence[csr_array], labels: ResidueLabels
) -> pl.DataFrame:
    scale_F = evaluation.features["max_activation"].to_numpy()
    parts = [
        pl.DataFrame(
            schema={"concept": pl.String, "found_by_any": pl.Float64, "absorbed": pl.Float64}
        )
    ]
    # Whole concepts at a time: what others find counts only beside what the best one finds.
    pairs = evaluation.detection.pairs.sort("concept", "latent")
    each = pairs.group_by("concept", maintain_order=True).len()
    block = np.cumsum(each["len"].to_numpy()) // _PAIRS
    for number in np.unique(block):
        names = each["concept"].filter(pl.Series(block == number))
        mine = pairs.filter(pl.col("concept").is_in(names.implode()))
        activations = gather_pairs(
            latents, labels, ids_of(mine["concept"], labels.concepts), mine["latent"], scale_F
        )
        split = concept_splitting(activations, mine["latent"], mine["threshold"])
        parts.append(split.select("concept", "found_by_any", "absorbed"))
    return pl.concat(parts)
