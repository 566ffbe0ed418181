"""What the site shows of a latent, beside what its feature report holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.association.significance import benjamini_hochberg
from plmsae.concepts.enrichment.enrichment import TermTable, over_represented
from plmsae.concepts.enrichment.term_confirmation import FDR
from plmsae.concepts.features.patterns import ACTIVE
from plmsae.reports.page import byline
from plmsae.reports.report import FeatureReport

Row = dict[str, Any]

N_BINS = 20
"""Bars of the histogram of a latent's activations."""

N_NEAREST = 8
"""Latents listed as near."""

_MIN_PROTEINS = 3  # a term needs so many proteins to be tested


def histograms(scaled: csr_array) -> npt.NDArray[np.int64]:
    """Count the residues of each latent by scaled activation.

    Returns
    -------
    ndarray, shape=(F, N_BINS)
        Bin i holds activations in [i, i + 1) / N_BINS of the latent's maximum; zeros are left out,
        and what passes the maximum is in the last bin.
    """
    bins = np.minimum((scaled.data * N_BINS).astype(np.int64), N_BINS - 1)
    counts = np.bincount(
        scaled.indices.astype(np.int64) * N_BINS + bins, minlength=scaled.shape[1] * N_BINS
    )
    return counts.reshape(-1, N_BINS)


def enriched_terms(
    highest_PF: csr_array, accessions: Sequence[str], terms: pl.DataFrame, *, n: int
) -> dict[int, list[Row]]:
    """Return the protein-level terms that the proteins of each latent share, by latent.

    Parameters
    ----------
    highest_PF : csr_array, shape=(P, F)
        Highest scaled activation of each latent in each protein.
    accessions : sequence of str, shape=(P,)
        Of the proteins.
    terms : polars.DataFrame
        ``accession``, ``concept``, ``namespace`` (`concepts.labels.protein_labels`).
    n : int
        At most this many for each latent.

    Returns
    -------
    dict
        Rows with ``term``, ``namespace``, ``fold``, ``q`` (Benjamini–Hochberg over all latents and
        terms), ``n_both``, ``n_active`` and ``n_term``; q ≤ 0.05, the most significant first.
    """
    here = terms.filter(pl.col("accession").is_in(pl.Series(accessions).implode()))
    common = (
        here.group_by("concept", "namespace")
        .agg(pl.col("accession").n_unique().alias("count"))
        .filter(pl.col("count").is_between(_MIN_PROTEINS, len(accessions) - 1))
        .sort("concept")
        .unique("concept", keep="first", maintain_order=True)
    )
    if common.is_empty():
        return {}
    table = TermTable.of(here, accessions, common["concept"].to_list())
    active = csr_array((highest_PF >= np.float32(ACTIVE)).astype(np.int32))
    pairs = over_represented(active, table, max_p=FDR).filter(pl.col("n_both") >= _MIN_PROTEINS)
    n_tests = active.shape[1] * len(table.terms)
    q = benjamini_hochberg(10.0 ** pairs["log10_p"].to_numpy(), n_tests)
    spaces = dict(common.select("concept", "namespace").iter_rows())
    chosen = pairs.with_columns(q=q).filter(pl.col("q") <= FDR).sort("latent", "q", "concept")
    found: dict[int, list[Row]] = {}
    for row in chosen.iter_rows(named=True):
        rows = found.setdefault(row["latent"], [])
        if len(rows) < n:
            rows.append(
                {
                    "term": row["concept"],
                    "namespace": spaces[row["concept"]],
                    "fold": round(row["fold"], 2),
                    "q": float(f"{row['q']:.2e}"),
                    "n_both": row["n_both"],
                    "n_active": row["n_active"],
                    "n_term": row["n_concept"],
                }
            )
    return found


def highest_in_proteins(scaled: Sequence[csr_array]) -> csr_array:
    """Return the highest activation of each latent in each protein, (P, F)."""
    from scipy.sparse import vstack

    return csr_array(vstack([csr_array(array.max(axis=0)[None]) for array in scaled], format="csr"))


def latent_page(
    report: FeatureReport,
    *,
    histogram: Sequence[int],
    nearest: Sequence[tuple[int, float]],
    terms: Sequence[Row],
) -> Row:
    """Return the data of one latent's page."""
    evidence = dataclasses.replace(report.evidence, held_out=()).to_json()
    del evidence["held_out"]
    together = [[c["latent"], c["overlap"], c["n_residues"]] for c in evidence.pop("companions")]
    return {
        **evidence,
        "title": report.title,
        "summary": report.claim,
        "description": report.description,
        "byline": byline(report),
        "verified": report.verified,
        "histogram": list(histogram),
        "together": together,
        "nearest": [list(row) for row in nearest],
        "terms": list(terms),
    }
