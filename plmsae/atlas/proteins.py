"""What the site shows of a protein: its features along the sequence, labels and calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.features.patterns import ACTIVE
from plmsae.concepts.latents import scale

Row = dict[str, Any]

CALL_COLUMNS = ("start", "end", "concept", "score", "precision", "precision_low", "probability")
"""Of annotations and proposals; missing ones are left out."""


def protein_page(
    accession: str,
    description: str,
    sequence: str,
    latents: csr_array,
    max_activation_F: np.ndarray[Any, Any],
    *,
    n_features: int,
    labels: Sequence[Sequence[Any]] = (),
    annotations: Sequence[Row] = (),
    proposals: Sequence[Row] = (),
) -> Row:
    """Return the data of one protein's page.

    Parameters
    ----------
    latents : csr_array, shape=(length, F)
        Its sparse activations.
    max_activation_F : ndarray, shape=(F,)
        The scale of each latent.
    n_features : int
        At most this many features, those with the highest peaks.
    labels : sequence of (start, end, concept)
        Known; 1-based, inclusive.
    annotations, proposals : sequence of dict
        With the keys `CALL_COLUMNS` and ``latents``.

    Returns
    -------
    dict
        ``features``: for each the ``latent``, its ``peak`` (position) and ``max`` (percent of the
        latent's maximum), and ``runs``: lists of the first position and the percents from there.
    """
    columns = scale(latents, max_activation_F).tocsc()
    columns.sort_indices()
    highest = columns.max(axis=0).toarray().ravel() if columns.nnz else np.zeros(0)
    strong = np.flatnonzero(highest >= ACTIVE)
    order = strong[np.lexsort((strong, -highest[strong]))][:n_features]
    return {
        "accession": accession,
        "description": " ".join(description.split())[:300],
        "sequence": sequence,
        "labels": [list(label) for label in labels],
        "annotations": list(annotations),
        "proposals": list(proposals),
        "n_features": len(strong),
        "features": [_feature(columns, int(latent)) for latent in order],
    }


def _feature(columns: csr_array, latent: int) -> Row:
    span = slice(columns.indptr[latent], columns.indptr[latent + 1])
    rows, values = columns.indices[span], np.minimum(columns.data[span], 1.0)
    percents = np.rint(100 * values).astype(int)
    kept = percents >= 1
    rows, percents = rows[kept], percents[kept]
    breaks = np.flatnonzero(np.diff(rows) > 1) + 1
    runs = [
        [int(where[0]) + 1, *(int(v) for v in part)]
        for where, part in zip(np.split(rows, breaks), np.split(percents, breaks), strict=True)
    ]
    top = int(percents.argmax())
    return {"latent": latent, "max": int(percents[top]), "peak": int(rows[top]) + 1, "runs": runs}


def calls_by_protein(calls: pl.DataFrame) -> dict[str, list[Row]]:
    """Return the rows of annotations or proposals by accession, by place."""
    kept = [name for name in (*CALL_COLUMNS, "latents") if name in calls.columns]
    rounded = calls.with_columns(
        pl.col(name).cast(pl.Float64).round(4)
        for name in ("score", "precision", "precision_low", "probability")
        if name in calls.columns
    )
    found: dict[str, list[Row]] = {}
    ordered = rounded.sort("accession", "start", "end", "concept")
    for row in ordered.select("accession", *kept).iter_rows(named=True):
        found.setdefault(row.pop("accession"), []).append(row)
    return found
