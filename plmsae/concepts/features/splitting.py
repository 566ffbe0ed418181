"""Several latents for one concept, and one latent for several.

A concept is *split* when several latents each find a part of it. It is *absorbed* when its general
latent does not fire on some instances because a more specific latent fires there instead (Chanin et
al. 2024, "A is for absorption"). Both show in the same two numbers: what the best latent finds, and
what it misses but others of the concept find.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.concepts.association.pairs import PairActivations


def concept_splitting(
    pairs: PairActivations, latent_Q: npt.ArrayLike, threshold_Q: npt.ArrayLike
) -> pl.DataFrame:
    """Say how the instances of each concept are shared among its latents.

    Parameters
    ----------
    pairs : PairActivations
        Several pairs per concept, such as `selection.confirmed_pairs`, over the
        proteins to measure on.
    latent_Q : array_like of int, shape=(Q,)
        The latents of the pairs.
    threshold_Q : array_like, shape=(Q,)
        Share of the latent's maximum that an activation must be above.

    Returns
    -------
    polars.DataFrame
        One row for each concept with a pair: ``concept``, ``n_latents``, ``latent`` (the one that
        finds most instances, the lowest of equals), ``found`` (its share of the instances),
        ``found_by_any``, ``absorbed`` (of those it misses, the share that others find; null if it
        misses none).
    """
    labels = pairs.labels
    pair_J, instance_J = pairs.instances_J()
    hit_J = pairs.maximum_J() > np.asarray(threshold_Q, dtype=np.float32)[pair_J]
    frame = pl.DataFrame(
        {
            "concept": pl.Series(labels.concepts, dtype=pl.String).gather(pairs.concept_Q[pair_J]),
            "latent": np.asarray(latent_Q, dtype=np.int64)[pair_J],
            "instance": instance_J,
            "hit": hit_J,
        }
    )
    per_latent = frame.group_by("concept", "latent").agg(pl.col("hit").mean().alias("found"))
    best = (
        per_latent.sort("concept", "found", "latent", descending=[False, True, False])
        .group_by("concept", maintain_order=True)
        .first()
    )
    by_any = frame.group_by("concept", "instance").agg(pl.col("hit").any())
    united = by_any.group_by("concept").agg(pl.col("hit").mean().alias("found_by_any"))
    count = per_latent.group_by("concept").agg(pl.len().cast(pl.Int64).alias("n_latents"))
    joined = best.join(united, on="concept").join(count, on="concept").sort("concept")
    missed = 1 - pl.col("found")
    return joined.select(
        "concept",
        "n_latents",
        pl.col("latent").cast(pl.Int32),
        "found",
        "found_by_any",
        pl.when(pl.col("found") < 1)
        .then((pl.col("found_by_any") - pl.col("found")) / missed)
        .alias("absorbed"),
    )
