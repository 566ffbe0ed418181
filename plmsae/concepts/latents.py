"""Sparse latents as arrays: stacking them, their maxima, and their scale.

Activations of different latents are not comparable as they come out of the SAE. Everything in
this package that uses a *threshold* means a share of the latent's maximum on a reference set,
as InterPLM does (Simon & Zou 2025, Methods, "Feature normalization"). There is one function that
scales, :func:`scale`, and one that compares, :func:`threshold_bins`; association, calibration and
scoring all go through them, so that a pair is chosen and used on the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from plmsae.core.errors import InputError

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


def stack_rows(arrays: Sequence[csr_array], n_latents: int | None = None) -> csr_array:
    """Put per-protein latents under one another.

    Parameters
    ----------
    arrays : sequence of csr_array, shape=(n_i, F)
        One array per protein, as :class:`plmsae.encode.Encoder` gives them.
    n_latents : int, optional
        F; needed only when `arrays` may be empty.

    Returns
    -------
    csr_array, shape=(sum of n_i, F), dtype=float32
    """
    if n_latents is None:
        n_latents = same_width(arrays)
    if len(arrays) == 1:
        return arrays[0]
    counts = [np.diff(array.indptr) for array in arrays]
    indptr = np.zeros(1 + sum(map(len, counts)), dtype=np.int64)
    if arrays:
        np.cumsum(np.concatenate(counts), out=indptr[1:])
    index_type = np.int32 if indptr[-1] < np.iinfo(np.int32).max else np.int64
    indices = np.concatenate([a.indices for a in arrays]) if arrays else np.zeros(0)
    data = np.concatenate([a.data for a in arrays]) if arrays else np.zeros(0)
    return csr_array(
        (
            data.astype(np.float32, copy=False),
            indices.astype(index_type),
            indptr.astype(index_type),
        ),
        shape=(len(indptr) - 1, n_latents),
    )


def same_width(arrays: Sequence[csr_array]) -> int:
    """Return the number of latents that all `arrays` share.

    Raises
    ------
    InputError
        If there is no array, or they differ.
    """
    widths = {int(array.shape[1]) for array in arrays}
    if len(widths) != 1:
        raise InputError(
            "the latents must all be of one SAE",
            value=", ".join(map(str, sorted(widths))) or "no protein",
        )
    return widths.pop()


def chunks_of_proteins(
    arrays: Sequence[csr_array], max_entries: int = 4_000_000
) -> Iterator[tuple[int, int]]:
    """Cut a list of proteins into stretches of at most `max_entries` active latents.

    Yields
    ------
    first, last : int
        A half-open range of proteins; one protein at least, however large.
    """
    first, entries = 0, 0
    for index, array in enumerate(arrays):
        if index > first and entries + array.nnz > max_entries:
            yield first, index
            first, entries = index, 0
        entries += array.nnz
    if first < len(arrays):
        yield first, len(arrays)


def max_activations(arrays: Iterable[csr_array], n_latents: int) -> Float32:
    """Return the highest activation of each latent over a reference set.

    Returns
    -------
    ndarray, dtype=float32, shape=(F,)
        Zero for a latent that never fires (dead on this set).

    Raises
    ------
    InputError
        If an activation is negative or not a number.
    """
    highest = np.zeros(n_latents, dtype=np.float32)
    for array in arrays:
        if array.nnz == 0:
            continue
        if not np.all(array.data >= 0):
            raise InputError(
                "a latent's activation is negative or not a number",
                hint="signed units, such as neurons, become two latents each",
            )
        np.maximum.at(highest, array.indices, array.data)
    return highest


def firing_rates(arrays: Iterable[csr_array], n_latents: int) -> npt.NDArray[np.float64]:
    """Return the share of rows on which each latent is active, shape=(F,)."""
    fires = np.zeros(n_latents, dtype=np.int64)
    n_rows = 0
    for array in arrays:
        fires += np.bincount(array.indices, weights=array.data > 0, minlength=n_latents).astype(
            np.int64
        )
        n_rows += int(array.shape[0])
    return fires / max(n_rows, 1)


def scale(latents: csr_array, max_activation_F: npt.ArrayLike) -> csr_array:
    """Divide every latent by its maximum on the reference set.

    Parameters
    ----------
    latents : csr_array, shape=(N, F)
        Raw activations, all ≥ 0.
    max_activation_F : array_like, shape=(F,)
        The scale. Zero marks a latent that is dead on the reference set: it has no scale, so it
        stays silent here even where it fires.

    Returns
    -------
    csr_array, shape=(N, F), dtype=float32
        Never NaN or infinite. Above 1 where an activation passes the reference maximum.
    """
    highest = np.asarray(max_activation_F, dtype=np.float32)
    if highest.shape != (latents.shape[1],):
        raise InputError(
            f"the scale is of {highest.size} latents, the activations of {latents.shape[1]}"
        )
    divisor = highest[latents.indices]
    dead = divisor <= 0
    data = np.divide(latents.data, divisor, out=np.zeros_like(divisor), where=~dead)
    scaled = csr_array((data, latents.indices, latents.indptr), shape=latents.shape)
    if dead.any() or not data.all():
        scaled = scaled.copy()
        scaled.eliminate_zeros()
    return scaled


def threshold_bins(scaled: Float32, thresholds_T: Float32) -> npt.NDArray[np.int8]:
    """Return the index of the highest threshold that each activation is *above*, -1 for none.

    Parameters
    ----------
    scaled : ndarray, dtype=float32
        Scaled activations.
    thresholds_T : ndarray, dtype=float32, shape=(T,)
        Ascending.
    """
    bins = np.full(scaled.shape, -1, dtype=np.int8)
    for threshold in thresholds_T:  # five passes of a comparison beat one binary search
        bins += scaled > threshold
    return bins


def check_thresholds(thresholds: Sequence[float]) -> Float32:
    """Return `thresholds` as a float32 array, or say why they will not do.

    Raises
    ------
    InputError
        Unless they are 1 to 100 ascending numbers in [0, 1).
    """
    values = np.asarray(thresholds, dtype=np.float32)
    ascending = values.ndim == 1 and bool(np.all(np.diff(values) > 0))
    if not (ascending and 1 <= values.size <= 100 and values[0] >= 0 and values[-1] < 1):
        raise InputError(
            "thresholds must be ascending shares of a latent's maximum, in [0, 1)",
            value=str(list(thresholds)),
        )
    return values


def expand(start: Int64, end: Int64) -> Int64:
    """Return the concatenation of ``range(start[i], end[i])`` over i, without a loop."""
    length = end - start
    total = int(length.sum())
    first = np.cumsum(length) - length
    rows: Int64 = np.arange(total, dtype=np.int64) + np.repeat(start - first, length)
    return rows
