"""The shape of a latent's activations along the chain: point, periodic, motif, whole protein.

The classes of InterProt (Adams et al., ICML 2025, §4.1), by contiguous length and coverage, for all
latents at once. A *run* is a stretch of residues above the level; of every protein in which a
latent fires, the longest run, the share of residues covered, and the distances between run starts
are taken.

======== ==================================================================
class    rule, the first that holds
======== ==================================================================
dead     never fires
rare     fires in fewer proteins than asked for
whole    covers more than 80 % of the protein, on average
periodic at least half of the proteins, and most of those with 4 or more runs, are regular: half of
         the distances are within a tenth of their median (hence exact below 10 residues)
point    the median of the longest run is 1
short    … at most 20
medium   … at most 50
long     … more than 50
======== ==================================================================
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.latents import chunks_of_proteins, scale, stack_rows
from plmsae.core.errors import InputError

MIN_RUNS = 4

ACTIVE = 0.15
"""Share of a latent's maximum above which a residue is active."""


def activation_patterns(
    latents: Sequence[csr_array],
    max_activation_F: npt.ArrayLike,
    *,
    level: float = ACTIVE,
    min_proteins: int = 5,
) -> pl.DataFrame:
    """Classify every latent by the shape of its activations.

    Parameters
    ----------
    latents : sequence of csr_array, shape=(length, F)
        Raw activations, one array per protein.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent.
    level : float
        Share of the latent's maximum above which a residue is active.
    min_proteins : int
        Fewer proteins than this are too few to tell.

    Returns
    -------
    polars.DataFrame
        F rows: ``latent``, ``pattern``, ``n_proteins``, ``median_run`` (residues), ``coverage``
        (mean share of the protein), ``period`` (residues, for periodic latents).
    """
    if not 0 <= level < 1:
        raise InputError("the level is a share of the latent's maximum", value=str(level))
    highest = np.asarray(max_activation_F, dtype=np.float32)
    lengths = np.array([array.shape[0] for array in latents])
    parts = []
    for first, last in chunks_of_proteins(latents):
        scaled = scale(stack_rows(latents[first:last], len(highest)), highest)
        parts.append(_per_protein(scaled, lengths[first:last], first, level))
    each = pl.concat(parts) if parts else _per_protein(csr_array((0, 1)), lengths, 0, level)
    by_latent = each.group_by("latent").agg(
        pl.len().alias("n_proteins"),
        pl.col("longest").median().alias("median_run"),
        # Groups come in any order; sorted, their sum is the same to the bit in every run.
        pl.col("coverage").sort().mean(),
        (pl.col("regular").sum() / pl.len()).alias("regular_share"),
        (pl.col("regular").sum() / (pl.col("n_runs") >= MIN_RUNS).sum()).alias("regular_of_many"),
        pl.col("distance").filter("regular").median().alias("period"),
    )
    every = pl.DataFrame({"latent": np.arange(len(highest), dtype=np.int64)})
    frame = every.join(by_latent, on="latent", how="left", maintain_order="left")
    periodic = (pl.col("regular_share") >= 0.5) & (pl.col("regular_of_many") > 0.5)
    pattern = (
        pl.when(pl.col("n_proteins").is_null())
        .then(pl.lit("dead"))
        .when(pl.col("n_proteins") < min_proteins)
        .then(pl.lit("rare"))
        .when(pl.col("coverage") > 0.8)
        .then(pl.lit("whole"))
        .when(periodic)
        .then(pl.lit("periodic"))
        .when(pl.col("median_run") <= 1)
        .then(pl.lit("point"))
        .when(pl.col("median_run") <= 20)
        .then(pl.lit("short"))
        .when(pl.col("median_run") <= 50)
        .then(pl.lit("medium"))
        .otherwise(pl.lit("long"))
    )
    return frame.select(
        pl.col("latent").cast(pl.Int32),
        pattern.alias("pattern"),
        pl.col("n_proteins").fill_null(0).cast(pl.Int64),
        "median_run",
        "coverage",
        pl.when(pattern == "periodic").then("period").alias("period"),
    )


def _per_protein(
    scaled: csr_array, lengths: npt.NDArray[np.int64], first: int, level: float
) -> pl.DataFrame:
    """Return the runs of every latent in every protein, summed up."""
    columns = csr_array(scaled > np.float32(level)).tocsc()
    latent = np.repeat(np.arange(columns.shape[1]), np.diff(columns.indptr))
    row = columns.indices.astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    protein = np.searchsorted(offsets, row, side="right") - 1
    new = np.ones(len(row), dtype=bool)
    new[1:] = (np.diff(row) != 1) | (np.diff(latent) != 0) | (np.diff(protein) != 0)
    start = np.flatnonzero(new)
    runs = pl.DataFrame(
        {
            "latent": latent[start].astype(np.int64),
            "protein": protein[start] + first,
            "start": row[start],
            "length": np.diff(np.append(start, len(row))),
            "residues": lengths[protein[start]],
        }
    )
    key = ["latent", "protein"]
    runs = runs.with_columns(pl.col("start").diff().over(key).alias("step"))
    summed = runs.group_by(key).agg(
        pl.len().alias("n_runs"),
        pl.col("length").max().alias("longest"),
        (pl.col("length").sum() / pl.col("residues").first()).alias("coverage"),
        pl.col("step").median().alias("distance"),
    )
    near = (
        runs.join(summed.select(*key, "distance"), on=key)
        .group_by(key)
        .agg(
            ((pl.col("step") - pl.col("distance")).abs() <= pl.col("distance") // 10)
            .mean()
            .alias("near")
        )
    )
    return summed.join(near, on=key).with_columns(
        ((pl.col("n_runs") >= MIN_RUNS) & (pl.col("near") >= 0.5)).fill_null(False).alias("regular")
    )
