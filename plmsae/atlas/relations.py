"""How latents relate: near decoder directions, correlation, and a map in two dimensions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

_BLOCK = 1024  # latents compared with all others at a time
_MAP_INPUT = 50  # principal components that the map is made from
_MAP_STEPS = 500


def unit_rows(directions_FD: npt.ArrayLike) -> Float32:
    """Return each row divided by its length; rows of zeros stay."""
    rows_FD = np.asarray(directions_FD, dtype=np.float32)
    lengths_F = np.linalg.norm(rows_FD, axis=1, keepdims=True)
    unit_FD: Float32 = np.divide(
        rows_FD, lengths_F, out=np.zeros_like(rows_FD), where=lengths_F > 0
    )
    return unit_FD


def map_of(directions_FD: npt.ArrayLike, alive_F: npt.NDArray[np.bool_], *, seed: int) -> Float32:
    """Place the latents in a plane so that similar decoder directions are near (t-SNE).

    Parameters
    ----------
    directions_FD : array_like, shape=(F, D)
        Decoder directions.
    alive_F : array of bool, shape=(F,)
        Only these are placed.

    Returns
    -------
    ndarray, shape=(F, 2), dtype=float32
        In [0, 1]; NaN for the others.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    placed_F2 = np.full((len(alive_F), 2), np.nan, dtype=np.float32)
    rows_FD = unit_rows(directions_FD)[alive_F]
    n = len(rows_FD)
    if n == 0:
        return placed_F2
    if n < 10:  # too few for neighbourhoods
        plane = np.stack([np.arange(n), np.arange(n) % 3], axis=1).astype(np.float64)
    else:
        parts = min(_MAP_INPUT, n - 1, rows_FD.shape[1])
        tsne = TSNE(
            2, perplexity=min(30.0, (n - 1) / 3), init="pca", max_iter=_MAP_STEPS, random_state=seed
        )
        # On cores that others use too, threads wait for one another longer than they work.
        with threadpool_limits(1):
            # For rows of unit length, Euclidean distance orders pairs as cosine does.
            plane = tsne.fit_transform(PCA(parts, random_state=seed).fit_transform(rows_FD))
    low, high = plane.min(axis=0), plane.max(axis=0)
    placed_F2[alive_F] = (plane - low) / np.maximum(high - low, 1e-9)
    return placed_F2


def nearest_directions(
    a_FD: npt.ArrayLike, b_GD: npt.ArrayLike | None = None, *, n: int
) -> tuple[Int64, Float32]:
    """Return the `n` most similar rows of `b` for each row of `a`, by cosine, most similar first.

    Without `b`, rows of `a` are compared with each other, itself left out.

    Returns
    -------
    (latent_Fn, cosine_Fn)
    """
    a_FD = unit_rows(a_FD)
    other_GD = a_FD if b_GD is None else unit_rows(b_GD)
    kept = min(n, len(other_GD) - (b_GD is None))
    latent_Fn = np.zeros((len(a_FD), kept), dtype=np.int64)
    cosine_Fn = np.zeros((len(a_FD), kept), dtype=np.float32)
    for rows in _blocks(len(a_FD)):
        cosine_BG = a_FD[rows] @ other_GD.T
        if b_GD is None:
            cosine_BG[np.arange(len(cosine_BG)), np.arange(rows.start, rows.stop)] = -2
        latent_Fn[rows], cosine_Fn[rows] = _largest(cosine_BG, kept)
    return latent_Fn, cosine_Fn


def best_correlated(a_NF: csr_array, b_NG: csr_array) -> tuple[Int64, Float32]:
    """Return, for each latent of `a`, the latent of `b` whose activations go along with it most.

    Parameters
    ----------
    a_NF, b_NG : csr_array
        Activations on the same residues.

    Returns
    -------
    (latent_F, r_F)
        Pearson's correlation over all residues; −1 and 0 where a latent never fires.
    """
    n = a_NF.shape[0]
    columns = a_NF.tocsc()
    mean_F, std_F = _moments(columns)
    mean_G, std_G = _moments(b_NG.tocsc())
    latent_F = np.full(a_NF.shape[1], -1, dtype=np.int64)
    r_F = np.zeros(a_NF.shape[1], dtype=np.float32)
    for rows in _blocks(a_NF.shape[1]):
        cross = (columns[:, rows].T @ b_NG).toarray() / n - np.outer(mean_F[rows], mean_G)
        scale = np.outer(std_F[rows], std_G)
        r_BG = np.divide(cross, scale, out=np.zeros_like(cross), where=scale > 0)
        best = r_BG.argmax(axis=1)
        fires = std_F[rows] > 0
        latent_F[rows] = np.where(fires, best, -1)
        r_F[rows] = np.where(fires, r_BG[np.arange(len(best)), best], 0)
    return latent_F, r_F


def _moments(columns: csr_array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    n = columns.shape[0]
    total = np.asarray(columns.sum(axis=0), dtype=np.float64).ravel()
    squares = np.asarray(columns.multiply(columns).sum(axis=0), dtype=np.float64).ravel()
    mean = total / n
    return mean, np.sqrt(np.maximum(squares / n - mean**2, 0))


def _largest(values_BG: Float32, n: int) -> tuple[Int64, Float32]:
    top = np.argpartition(-values_BG, min(n, values_BG.shape[1] - 1), axis=1)[:, :n]
    order = np.argsort(-np.take_along_axis(values_BG, top, 1), axis=1, kind="stable")
    top = np.take_along_axis(top, order, 1)
    return top, np.take_along_axis(values_BG, top, 1)


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(n, start + _BLOCK)) for start in range(0, n, _BLOCK))
