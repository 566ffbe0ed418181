"""Which labelled protein is nearest to a protein: by homology, or by the PLM's mean embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plmsae.concepts.latents import Int64
from plmsae.proteins.search import Method, search

_BLOCK = 1024  # queries compared at once


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The nearest labelled protein of each query that has one; arrays of shape (n,)."""

    query: Int64
    """Index of a query, ascending; each once."""
    target: Int64
    """Index of its neighbour among the references."""
    similarity: npt.NDArray[np.float64]
    """How near it is, in (0, 1]: the identity of a hit, or 1 / (1 + distance) of embeddings."""


def nearest_by_homology(
    queries: Sequence[str],
    references: Sequence[str],
    itself_Q: npt.ArrayLike,
    *,
    method: Method = "auto",
) -> Neighbours:
    """Find the best hit of each query among the references.

    Parameters
    ----------
    queries, references : sequence of str
        Sequences; Q queries.
    itself_Q : array_like of int, shape=(Q,)
        Index of each query among the references, which is passed over; -1 if it is none of them.
    method : {"auto", "mmseqs", "diamond", "kmer"}
        As for `plmsae.proteins.search.search`.
    """
    hits = search(queries, references, method=method)
    best = hits.take(np.asarray(itself_Q)[hits.query] != hits.target).best()
    return Neighbours(query=best.query, target=best.target, similarity=best.identity)


def nearest_by_embedding(
    queries_QD: npt.ArrayLike, references_RD: npt.ArrayLike, itself_Q: npt.ArrayLike
) -> Neighbours:
    """Find the reference whose mean embedding is at the least Euclidean distance.

    That is the neighbour of EAT, "embedding-based annotation transfer" (Heinzinger et al. 2022, NAR
    Genom Bioinform 4:lqac043). It shows how much of what an SAE finds the PLM's embedding gives
    away by itself.

    Parameters
    ----------
    queries_QD, references_RD : array_like, shape=(Q, D), (R, D)
        Means over the residues of the activations.
    itself_Q : array_like of int, shape=(Q,)
        As for `nearest_by_homology`.

    Returns
    -------
    Neighbours
        Of every query, if there is a reference other than itself; of equally near ones the first.
    """
    queries, references = (np.asarray(x, np.float64) for x in (queries_QD, references_RD))
    itself = np.asarray(itself_Q, np.int64)
    target, distance = np.zeros(len(queries), np.int64), np.full(len(queries), np.inf)
    norm_R = (references**2).sum(1)
    for first in range(0, len(queries) if len(references) else 0, _BLOCK):
        part = slice(first, first + _BLOCK)
        squared = norm_R - 2 * queries[part] @ references.T
        known = np.flatnonzero(itself[part] >= 0)
        squared[known, itself[part][known]] = np.inf
        target[part] = squared.argmin(1)
        distance[part] = np.where(
            np.isfinite(squared.min(1)),
            np.linalg.norm(queries[part] - references[target[part]], axis=1),
            np.inf,
        )
    found = np.flatnonzero(np.isfinite(distance))
    return Neighbours(query=found, target=target[found], similarity=1 / (1 + distance[found]))
