"""Which protein-level terms (GO, EC, families, keywords) the proteins of a latent share.

After Gujral et al. (PNAS 2025): the study set of a latent is the proteins that activate it, and a
hypergeometric test against all annotated proteins asks which terms it holds too many of. Three
differences on purpose: a protein activates a latent *above a share of the latent's maximum*, not at
any non-zero value; only over-representation counts; and the correction is Benjamini–Hochberg over
all latents × terms together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.association.significance import (
    log_hypergeometric_point,
    log_hypergeometric_tail,
)
from plmsae.concepts.latents import Int64, scale
from plmsae.core.errors import InputError

_BLOCK = 4_000_000  # latents × terms worked on at a time

PAIR_SCHEMA = {
    "latent": pl.Int32,
    "concept": pl.String,
    "n_active": pl.Int64,
    "n_concept": pl.Int64,
    "n_both": pl.Int64,
    "fold": pl.Float64,
    "log10_p": pl.Float64,
    "q": pl.Float64,
    "information": pl.Float64,
}


@dataclass(frozen=True, kw_only=True)
class TermTable:
    """Which of P proteins carry which of C terms."""

    terms: tuple[str, ...]
    carries_PC: csr_array
    """int32 ones."""
    count_C: Int64

    @property
    def information_C(self) -> npt.NDArray[np.float64]:
        """−log₂ of the share of proteins that carry each term."""
        bits: npt.NDArray[np.float64] = -np.log2(self.count_C / self.carries_PC.shape[0])
        return bits

    @classmethod
    def of(
        cls,
        rows: pl.DataFrame,
        accessions: Sequence[str] | pl.Series,
        terms: Sequence[str] | pl.Series,
    ) -> TermTable:
        """Lay `terms` over proteins; `rows` has ``accession`` and ``concept``, others left out."""
        proteins = pl.DataFrame({"accession": accessions, "protein": np.arange(len(accessions))})
        columns = pl.DataFrame({"concept": terms, "id": np.arange(len(terms))})
        placed = rows.select("accession", "concept").unique()
        placed = placed.join(proteins, on="accession").join(columns, on="concept")
        place = (placed["protein"].to_numpy(), placed["id"].to_numpy())
        carries_PC = csr_array(
            (np.ones(placed.height, dtype=np.int32), place), shape=(len(accessions), len(terms))
        )
        return cls(
            terms=tuple(terms),
            carries_PC=carries_PC,
            count_C=np.bincount(carries_PC.indices, minlength=len(terms)).astype(np.int64),
        )


def active_proteins(
    latents_PF: csr_array, max_activation_F: npt.ArrayLike, level: float
) -> csr_array:
    """Return int32 ones where a protein activates a latent above `level` of its maximum."""
    if not 0 <= level < 1:
        raise InputError("the level is a share of the latent's maximum", value=str(level))
    scaled = scale(csr_array(latents_PF), max_activation_F)
    return csr_array((scaled > np.float32(level)).astype(np.int32))


def shuffle_terms(term_table: pl.DataFrame, accessions: Sequence[str], seed: int) -> pl.DataFrame:
    """Give every protein the terms of another: the random-terms baseline.

    Each term keeps its number of proteins, and terms that go together stay together.
    """
    order = np.random.default_rng(seed).permutation(len(accessions))
    swap = pl.DataFrame(
        {"accession": list(accessions), "other": [accessions[int(i)] for i in order]},
        schema={"accession": pl.String, "other": pl.String},
    )
    moved = term_table.join(swap, on="accession", maintain_order="left")
    return moved.with_columns(pl.col("other").alias("accession")).drop("other")


def over_represented(active_PF: csr_array, table: TermTable, *, max_p: float = 1.0) -> pl.DataFrame:
    """Test every unit against every term; return the pairs that share more than chance lets expect.

    Parameters
    ----------
    active_PF : csr_array of int32 ones, shape=(P, F)
        Which proteins activate which unit; the proteins of `table`.
    max_p : float
        Pairs above this p-value are left out. A q-value is never below its p-value, so those up to
        `max_p` come out of a correction over all tests as if every pair were here.

    Returns
    -------
    polars.DataFrame
        The columns of `PAIR_SCHEMA` without ``q``, by latent, then concept.
    """
    n_proteins = active_PF.shape[0]
    active_FP = csr_array(active_PF.T)
    n_active_F = np.diff(active_FP.indptr).astype(np.int64)
    log_max = np.log(max_p) if max_p > 0 else -np.inf
    step = max(1, _BLOCK // max(len(table.terms), 1))
    parts = []
    for first in range(0, active_FP.shape[0], step):
        shared = (active_FP[first : first + step] @ table.carries_PC).tocoo()
        latent, term = (axis.astype(np.int64) for axis in shared.coords)
        both, n_active = shared.data.astype(np.int64), n_active_F[latent + first]
        n_term = table.count_C[term]
        # One point of the distribution is less than its tail: most pairs need no summing.
        point = log_hypergeometric_point(both, n_active, n_term, n_proteins)
        over = both * n_proteins > n_active * n_term
        kept = np.flatnonzero(over & (point <= log_max + 1e-9))
        kept = kept[np.lexsort((term[kept], latent[kept]))]
        both, n_active, n_term = both[kept], n_active[kept], n_term[kept]
        log_p = log_hypergeometric_tail(both, n_active, n_term, n_proteins)
        frame = pl.DataFrame(
            {
                "latent": (latent[kept] + first).astype(np.int32),
                "concept": pl.Series(table.terms, dtype=pl.String).gather(term[kept]),
                "n_active": n_active,
                "n_concept": n_term,
                "n_both": both,
                "fold": both * n_proteins / (n_active * n_term),
                "log10_p": log_p / np.log(10),
                "information": table.information_C[term[kept]],
            },
            schema={name: kind for name, kind in PAIR_SCHEMA.items() if name != "q"},
        )
        parts.append(frame.filter(pl.Series(log_p <= log_max)))
    return pl.concat(parts)
