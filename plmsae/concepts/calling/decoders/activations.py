"""The scaled activations of a few latents, by latent: what every decoder reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.latents import Float32, Int64, chunks_of_proteins, stack_rows
from plmsae.core.errors import InputError

BY_RUNS, BY_SEGMENTS = "runs", "segments"
"""How spans are made of activations: see `runs` and `segments`."""


@dataclass(frozen=True, kw_only=True)
class Activations:
    """Where some latents fire in a stack of proteins, and how strongly."""

    indptr_U1: Int64
    """Latent u (of U) fires on the rows ``row_A[indptr_U1[u]:indptr_U1[u + 1]]``."""
    row_A: Int64
    """Rows, ascending within a latent."""
    value_A: Float32
    """Activation / maximum of the latent, above 0."""
    offsets_P1: Int64
    """Protein p has the rows ``offsets_P1[p]:offsets_P1[p + 1]``."""

    def of(self, latent: int) -> tuple[Int64, Float32]:
        """Return rows and scaled activations of one latent."""
        first, last = self.indptr_U1[latent], self.indptr_U1[latent + 1]
        return self.row_A[first:last], self.value_A[first:last]

    def of_all(self, latent_Q: Int64) -> tuple[Int64, Int64, Float32]:
        """Return pair, row and value of some latents (repeats allowed), by pair, then row."""
        first, last = self.indptr_U1[latent_Q], self.indptr_U1[latent_Q + 1]
        from plmsae.concepts.latents import expand

        at = expand(first, last)
        return np.repeat(np.arange(len(latent_Q)), last - first), self.row_A[at], self.value_A[at]


@dataclass(frozen=True, kw_only=True)
class Spans:
    """Called spans as arrays, by pair, then place."""

    pair_K: Int64
    """Which of the pairs (rows of a table of concepts) made the call."""
    first_K: Int64
    """First row."""
    end_K: Int64
    """One past the last row."""
    score_K: Float32
    """Highest scaled activation in the span, at most 1."""


def gather_activations(
    latents: Sequence[csr_array], latent_U: npt.ArrayLike, max_activation_F: npt.ArrayLike
) -> Activations:
    """Collect the scaled activations of some latents on many proteins, a chunk at a time.

    Parameters
    ----------
    latents : sequence of csr_array, shape=(length, F)
        Raw activations, one array per protein.
    latent_U : array_like of int
        The latents to collect.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent; one without a scale (0) never fires.

    Raises
    ------
    InputError
        If a latent is outside the SAE.
    """
    used = np.asarray(latent_U, dtype=np.int64)
    scale_U = np.asarray(max_activation_F, dtype=np.float32)
    if len(used) and not 0 <= used.min() <= used.max() < len(scale_U):
        raise InputError(
            f"a concept names a latent outside the SAE of {len(scale_U)} latents",
            value=str(used.max()),
        )
    scale_U = scale_U[used]
    lengths = np.array([array.shape[0] for array in latents], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    latent, row, value = [], [], []
    for first, last in chunks_of_proteins(latents):
        columns = csr_array(stack_rows(latents[first:last]))[:, used].tocsc()
        columns.sort_indices()
        owner = np.repeat(np.arange(len(used)), np.diff(columns.indptr))
        scaled = np.divide(
            columns.data,
            scale_U[owner],
            out=np.zeros(len(owner), dtype=np.float32),
            where=scale_U[owner] > 0,
        )
        fires = scaled > 0
        latent.append(owner[fires])
        row.append(columns.indices[fires].astype(np.int64) + offsets[first])
        value.append(scaled[fires])
    whose = np.concatenate(latent) if latent else np.zeros(0, dtype=np.int64)
    order = np.argsort(whose, kind="stable")
    return Activations(
        indptr_U1=np.concatenate([[0], np.cumsum(np.bincount(whose, minlength=len(used)))]).astype(
            np.int64
        ),
        row_A=(np.concatenate(row) if row else np.zeros(0, dtype=np.int64))[order],
        value_A=(np.concatenate(value) if value else np.zeros(0, dtype=np.float32))[order],
        offsets_P1=offsets,
    )


def with_decoder(concepts: pl.DataFrame) -> pl.DataFrame:
    """Add ``decoder`` and ``seed_threshold`` to a table from before they existed: plain runs."""
    added = []
    if "decoder" not in concepts.columns:
        added.append(pl.lit(BY_RUNS).alias("decoder"))
    if "seed_threshold" not in concepts.columns:
        added.append(pl.lit(0.0).alias("seed_threshold"))
    return concepts.with_columns(added).with_columns(
        pl.col("decoder").fill_null(BY_RUNS), pl.col("seed_threshold").fill_null(0.0)
    )
