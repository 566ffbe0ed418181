"""Family specificity: latents that fire in one family of homologues, and in all of it.

After InterProt (Adams et al., ICML 2025): a latent is specific to a family when the proteins it
fires in and the members of one homology cluster are nearly the same set, F1 > 0.7.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.enrichment.enrichment import active_proteins
from plmsae.concepts.latents import Float32, max_activations
from plmsae.core.errors import InputError

SPECIFIC = 0.7


def pool_maximum(latents: Sequence[csr_array]) -> csr_array:
    """Return the highest activation of each latent in each protein, shape (P, F)."""
    rows = [csr_array(array.max(axis=0).reshape(1, -1)) for array in latents]
    indptr = np.cumsum([0, *(row.nnz for row in rows)])
    data: Float32 = np.concatenate([row.data for row in rows]).astype(np.float32)
    indices = np.concatenate([row.indices for row in rows])
    pooled = csr_array((data, indices, indptr), shape=(len(rows), latents[0].shape[1]))
    pooled.sort_indices()
    return pooled


def family_specificity(
    latents_PF: csr_array, clusters: npt.ArrayLike, *, level: float = 0.15, min_members: int = 3
) -> pl.DataFrame:
    """Find the homology cluster that each latent matches best.

    Parameters
    ----------
    latents_PF : csr_array, shape=(P, F)
        Activations, one row per protein (of a residue SAE: :func:`pool_maximum`).
    clusters : array_like of int, shape=(P,)
        Homology cluster of each protein.
    level : float
        Share of the latent's maximum above which a protein activates it.
    min_members : int
        Smaller clusters are no candidates: a latent firing in a single protein would match one.

    Returns
    -------
    polars.DataFrame
        F rows: ``latent``, ``cluster``, ``n_members``, ``n_active``, ``precision``, ``recall``,
        ``f1``, ``specific`` (f1 > 0.7); nulls for a latent that fires in no such cluster.
    """
    cluster_P = np.asarray(clusters)
    n_latents = latents_PF.shape[1]
    if len(cluster_P) != latents_PF.shape[0]:
        raise InputError(f"{len(cluster_P)} clusters for {latents_PF.shape[0]} proteins")
    active = active_proteins(latents_PF, max_activations([latents_PF], n_latents), level)
    n_active = np.bincount(active.indices, minlength=n_latents)
    names, member, size = np.unique(cluster_P, return_inverse=True, return_counts=True)
    protein = np.arange(len(cluster_P))
    belongs = csr_array(
        (np.ones(len(member), dtype=np.int32), (member, protein)), shape=(len(names), len(protein))
    )
    shared = (belongs @ active).tocoo()
    family, latent = (axis.astype(np.int64) for axis in shared.coords)
    f1 = np.where(
        size[family] >= min_members, 2 * shared.data / (size[family] + n_active[latent]), 0
    )
    order = np.lexsort((family, -f1, latent))
    best = order[np.unique(latent[order], return_index=True)[1]]
    best = best[f1[best] > 0]
    both = shared.data[best]
    found = pl.DataFrame(
        {
            "latent": latent[best].astype(np.int32),
            "cluster": names[family[best]],
            "n_members": size[family[best]],
            "precision": both / n_active[latent[best]],
            "recall": both / size[family[best]],
            "f1": f1[best],
            "specific": f1[best] > SPECIFIC,
        }
    )
    every = pl.DataFrame({"latent": np.arange(n_latents, dtype=np.int32), "n_active": n_active})
    return every.join(found, on="latent", how="left", maintain_order="left").select(
        "latent", "cluster", "n_members", "n_active", "precision", "recall", "f1", "specific"
    )
