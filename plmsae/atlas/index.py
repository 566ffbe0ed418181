"""What the first page of the site needs: one value per latent and column, and the names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.reports.report import FeatureReport


def index_of(
    *,
    model: Mapping[str, Any],
    source: str,
    features: pl.DataFrame,
    concepts: pl.DataFrame,
    reports: Mapping[int, FeatureReport],
    places_F2: npt.NDArray[np.float32],
    proteins: Sequence[Mapping[str, Any]],
    structures: Sequence[int],
    compared: Sequence[Mapping[str, Any]],
    chunk_sizes: Mapping[str, int],
) -> dict[str, Any]:
    """Return the index, in columns.

    Parameters
    ----------
    model : mapping
        ``name``, ``uri``, ``plm``, ``layer``, ``arch``, ``k`` and its headline metrics.
    source : str
        Name of the file of proteins.
    places_F2 : ndarray, shape=(F, 2)
        On the map, in [0, 1]; NaN where a latent has no place.
    structures : sequence of int
        Proteins that have a structure.
    chunk_sizes : mapping
        Latents and proteins in a chunk.
    """
    names = sorted({row.concept for r in reports.values() for row in r.evidence.concepts})
    names += sorted(set(concepts["concept"].drop_nulls()) - set(names))
    number = {name: i for i, name in enumerate(names)}
    patterns = sorted({report.evidence.pattern for report in reports.values()})
    columns: dict[str, list[Any]] = {name: [] for name in _LATENT_COLUMNS}
    for latent, density in enumerate(features["density"].to_list()):
        report = reports.get(latent)
        placed = np.isfinite(places_F2[latent]).all()
        x, y = (int(v) for v in np.rint(10_000 * places_F2[latent])) if placed else (-1, -1)
        evidence = report.evidence if report else None
        scores = evidence.concepts if evidence else ()
        columns["x"].append(x)
        columns["y"].append(y)
        columns["title"].append(report.title if report else "")
        columns["claim"].append(report.claim if report else "")
        columns["concepts"].append([[number[s.concept], round(s.f1, 4)] for s in scores])
        columns["f1"].append(round(scores[0].f1, 4) if scores else None)
        columns["density"].append(float(f"{density:.4g}"))
        columns["pattern"].append(patterns.index(evidence.pattern) if evidence else -1)
        columns["proteins"].append(evidence.n_active if evidence else 0)
        columns["max"].append(float(f"{evidence.max_activation:.5g}") if evidence else 0.0)
    return {
        "format": 1,
        "model": dict(model),
        "source": source,
        "concepts": names,
        "concept_rows": _concept_rows(concepts),
        "patterns": patterns,
        "latents": columns,
        "proteins": {
            "accession": [protein["accession"] for protein in proteins],
            "description": [protein["description"] for protein in proteins],
            "length": [len(protein["sequence"]) for protein in proteins],
        },
        "structures": list(structures),
        "compared": [{"name": c["name"], "uri": c["uri"]} for c in compared],
        "chunk_sizes": dict(chunk_sizes),
    }


_LATENT_COLUMNS = (
    *("x", "y", "title", "claim", "concepts", "f1", "density", "pattern", "proteins", "max"),
)
_CONCEPT_COLUMNS = (
    *("concept", "kind", "caller", "n_instances", "f1", "f1_low", "f1_high", "f1_every_residue"),
    *("precision_residue", "recall", "call_precision", "call_precision_low", "span_f1"),
    *("f1_neuron", "f1_pca", "f1_random_plm_sae", "f1_best_hit", "f1_nearest_embedding"),
)


def _concept_rows(concepts: pl.DataFrame) -> list[dict[str, Any]]:
    """Return what was measured of each concept; `latent` is its best one."""
    kept = [name for name in _CONCEPT_COLUMNS if name in concepts.columns]
    floats = [name for name in kept if concepts.schema[name].is_float()]
    rows = concepts.sort("f1", descending=True, nulls_last=True).select(
        *kept, pl.col("best_latent").alias("latent")
    )
    return rows.with_columns(pl.col(name).round(4) for name in floats).to_dicts()
