"""Two models side by side: matched latents, and the concepts that one has and the other lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.atlas.relations import best_correlated, nearest_directions
from plmsae.concepts.association.tables import is_found


@dataclass(frozen=True, kw_only=True)
class Side:
    """One model of a comparison."""

    name: str
    uri: str
    """Exact version."""
    same_space: tuple[str, int]
    """PLM and width; decoder directions of two models can be compared where both agree."""
    directions_FD: npt.NDArray[np.float32]
    active_NF: csr_array
    """Scaled activations on the proteins of the atlas."""
    features: pl.DataFrame
    concepts: pl.DataFrame


def comparison(ours: Side, theirs: Side) -> dict[str, Any]:
    """Return the data of the page that compares two models.

    Returns
    -------
    dict
        ``pairs``: for each of our latents that fires, the latent of theirs whose activations
        correlate most with its own: ``latent``, ``other``, ``r``, ``cosine`` (of the decoder
        directions; null where the two live in different spaces), ``back`` (whether it is the best
        match the other way, too), ``concept`` and ``f1`` of both. ``concepts``: the best F1 of each
        concept in both.
    """
    other_F, r_F = best_correlated(ours.active_NF, theirs.active_NF)
    back_G, _ = best_correlated(theirs.active_NF, ours.active_NF)
    cosine_F = None
    nearest_F = None
    if ours.same_space == theirs.same_space:
        cosine_F = _cosines(ours.directions_FD, theirs.directions_FD, other_F)
        latent_F1, near_F1 = nearest_directions(ours.directions_FD, theirs.directions_FD, n=1)
        nearest_F = list(zip(latent_F1[:, 0], near_F1[:, 0], strict=True))
    our_best, their_best = _best(ours.features), _best(theirs.features)
    pairs = []
    for latent in np.flatnonzero(other_F >= 0):
        other = int(other_F[latent])
        concept, f1 = our_best.get(int(latent), (None, None))
        other_concept, other_f1 = their_best.get(other, (None, None))
        row: dict[str, Any] = {
            "latent": int(latent),
            "other": other,
            "r": round(float(r_F[latent]), 4),
            "cosine": None if cosine_F is None else round(float(cosine_F[latent]), 4),
            "back": bool(back_G[other] == latent),
            "concept": concept,
            "f1": f1,
            "other_concept": other_concept,
            "other_f1": other_f1,
        }
        if nearest_F is not None:
            row["nearest"] = int(nearest_F[latent][0])
            row["nearest_cosine"] = round(float(nearest_F[latent][1]), 4)
        pairs.append(row)
    pairs.sort(key=lambda row: (-row["r"], row["latent"]))
    return {
        "name": theirs.name,
        "uri": theirs.uri,
        "n_latents": theirs.features.height,
        "same_space": ours.same_space == theirs.same_space,
        "pairs": pairs,
        "concepts": _concepts(ours.concepts, theirs.concepts),
    }


def _cosines(
    a_FD: npt.NDArray[np.float32], b_GD: npt.NDArray[np.float32], other_F: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    from plmsae.atlas.relations import unit_rows

    cosines: npt.NDArray[np.float32] = (unit_rows(a_FD) * unit_rows(b_GD)[other_F]).sum(axis=1)
    return cosines


def _best(features: pl.DataFrame) -> dict[int, tuple[str | None, float | None]]:
    rows = features.select("latent", "concept", pl.col("f1").round(4)).iter_rows()
    return {latent: (concept, f1) for latent, concept, f1 in rows}


def _concepts(ours: pl.DataFrame, theirs: pl.DataFrame) -> list[dict[str, Any]]:
    def best(frame: pl.DataFrame, name: str) -> pl.DataFrame:
        found = is_found(pl.col("f1"), pl.col("f1_select"))
        if "n_latents" in frame.columns:  # as evaluations count it: by any latent
            found = pl.col("n_latents") > 0
        return (
            frame.drop_nulls("f1")
            .sort("f1", descending=True)
            .unique("concept", keep="first", maintain_order=True)
            .select(
                "concept",
                pl.col("f1").round(4).alias(f"{name}f1"),
                pl.col("best_latent").alias(f"{name}latent"),
                found.fill_null(value=False).alias(f"{name}found"),
            )
        )

    joined = best(ours, "").join(best(theirs, "other_"), on="concept", how="full", coalesce=True)
    change = {
        (True, True): "both",
        (True, False): "only here",
        (False, True): "only there",
        (False, False): "neither",
    }
    rows = joined.sort("concept").to_dicts()
    for row in rows:
        row["change"] = change[bool(row.pop("found")), bool(row.pop("other_found"))]
    return rows
