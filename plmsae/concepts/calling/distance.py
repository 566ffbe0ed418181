"""Accuracy by distance: how well calls do on proteins ever farther from those that chose them.

An average over all held-out proteins hides whether a model has learnt a function or a family. Here
the proteins of report are cut into bins by their identity to the nearest protein of select, and
calls and labels are counted in each. Calls on homologues are right or wrong together, and a bin is
often filled by a few large families: the interval counts these, by the design effect of
:mod:`plmsae.concepts.calling.calibration`.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.concepts.calling.calibration import call_precision
from plmsae.concepts.calling.matching import Matches
from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import Int64
from plmsae.core.errors import InputError

EDGES = (0.3, 0.4, 0.5, 0.7)
"""Identities at which bins are cut."""
_CUTS = [0, *(round(100 * edge) for edge in EDGES), 100]
BINS = ("none", *(f"{low}-{high}" for low, high in itertools.pairwise(_CUTS)))
"""Names of the bins, in per cent; the first is of proteins without a homologue."""


def bin_of(identity_P: npt.ArrayLike) -> Int64:
    """Return the index in `BINS` of each identity in [0, 1]; 0 means that there is no homologue."""
    identity = np.asarray(identity_P, dtype=np.float64)
    return np.where(identity > 0, 1 + np.searchsorted(EDGES, identity, side="right"), 0)


def accuracy_by_distance(
    protein_K: npt.ArrayLike,
    matches: Matches,
    labels: ResidueLabels,
    identity_P: npt.ArrayLike,
    *,
    clusters_P: npt.ArrayLike | None = None,
) -> pl.DataFrame:
    """Count calls and labels by how near a protein is to the nearest one that was chosen on.

    Parameters
    ----------
    protein_K : array_like of int, shape=(K,)
        Protein of each call, as an index into those of `labels`.
    labels : ResidueLabels
        Of the concepts that are called, on the report proteins.
    identity_P : array_like, shape=(P,)
        Identity to the nearest protein that was chosen on; 0 where there is no homologue.
    clusters_P : array_like of int, optional, shape=(P,)
        Homology clusters. Without them calls count as independent.

    Returns
    -------
    polars.DataFrame
        One row per bin that has proteins, the farthest first: ``bin`` (`BINS`), ``n_proteins``,
        ``n_calls``, ``n_right``, ``precision`` with its 95 % interval ``precision_low``,
        ``precision_high`` (`calibration.call_precision`, with families if there are clusters),
        ``n_instances``, ``n_found``, ``recall``; null where there is nothing to divide by.
    """
    identity = np.asarray(identity_P, dtype=np.float64)
    if len(identity) != len(labels.accessions):
        raise InputError(f"{len(identity)} identities for {len(labels.accessions)} proteins")
    place = bin_of(identity)
    n_bins = len(BINS)
    protein: Int64 = np.asarray(protein_K, dtype=np.int64)
    call, instance = place[protein], place[labels.protein_I]
    cluster_K = None if clusters_P is None else np.asarray(clusters_P)[protein]
    measured = call_precision(matches.right_K, call, n_bins, cluster_K)
    found = matches.found_I
    n_instances, n_found = (_count(instance, w, n_bins) for w in (None, found))
    frame = pl.DataFrame(
        {
            "bin": BINS,
            "n_proteins": np.bincount(place, minlength=n_bins),
            "n_calls": measured["n_calls"],
            "n_right": measured["true_calls"],
            "precision": measured["call_precision"],
            "precision_low": measured["call_precision_low"],
            "precision_high": measured["call_precision_high"],
            "n_instances": n_instances,
            "n_found": n_found,
            "recall": n_found / np.where(n_instances, n_instances, np.nan),
        }
    )
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None)).filter(pl.col("n_proteins") > 0)


def _count(place: Int64, weights: npt.NDArray[np.bool_] | None, n_bins: int) -> Int64:
    return np.bincount(place, weights=weights, minlength=n_bins).astype(np.int64)
