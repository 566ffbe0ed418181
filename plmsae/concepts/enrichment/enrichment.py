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
    benjamini_hochberg,
    log_hypergeometric_point,
    log_hypergeometric_tail,
)
from plmsae.concepts.latents import Int64, max_activations, scale
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
class Enrichment:
    """Terms over-represented among the proteins of each latent."""

    pairs: pl.DataFrame
    """The pairs with q at or below the level asked for: ``latent``, ``concept``, ``n_active``,
    ``n_concept``, ``n_both`` (proteins), ``fold``, ``log10_p``, ``q``, ``information`` (bits), and
    the columns of the term descriptions; by latent, then p."""
    summary: dict[str, float]
    """Proteins, latents and terms tested; latents tied to a term, and their share; per depth too
    if depths were given."""


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


def build_term_table(
    term_table: pl.DataFrame, accessions: Sequence[str], *, min_proteins: int = 5
) -> TermTable:
    """Lay protein-level labels over some proteins.

    Parameters
    ----------
    term_table : polars.DataFrame
        Columns ``accession`` and ``concept``: one row for each term of each protein, ancestors
        included. A row that is there twice counts once.
    accessions : sequence of str
        The proteins, in row order.
    min_proteins : int
        Terms that fewer of the proteins carry are left out: they could never be significant, and
        each costs power.

    Raises
    ------
    InputError
        If a column is missing, a protein is listed twice, or no term is common enough.
    """
    for column in ("accession", "concept"):
        if column not in term_table.columns:
            raise InputError(f"the table of terms lacks the column {column}")
    index = pl.DataFrame(
        {"accession": list(accessions), "protein": np.arange(len(accessions))},
        schema={"accession": pl.String, "protein": pl.Int64},
    )
    if index["accession"].is_duplicated().any():
        twice = index.filter(index["accession"].is_duplicated())["accession"][0]
        raise InputError("a protein is listed twice", record=twice)
    rows = term_table.select("accession", "concept").unique().join(index, on="accession")
    counts = rows.group_by("concept").agg(pl.len().alias("n")).sort("concept")
    counts = counts.filter(pl.col("n") >= max(min_proteins, 1))
    if not counts.height:
        raise InputError(
            f"no term is carried by {min_proteins} of the {len(accessions)} proteins",
            hint="are the accessions of the two of one kind?",
        )
    counts = counts.with_row_index("id")
    rows = rows.join(counts, on="concept")
    ones = np.ones(rows.height, dtype=np.int32)
    place = (rows["protein"].to_numpy(), rows["id"].to_numpy())
    return TermTable(
        terms=tuple(counts["concept"].to_list()),
        carries_PC=csr_array((ones, place), shape=(len(accessions), counts.height)),
        count_C=counts["n"].to_numpy().astype(np.int64),
    )


def enrich(
    latents_PF: csr_array,
    accessions: Sequence[str],
    term_table: pl.DataFrame,
    *,
    level: float = 0.15,
    max_activation: npt.ArrayLike | None = None,
    min_proteins: int = 5,
    fdr: float = 0.05,
    descriptions: pl.DataFrame | None = None,
) -> Enrichment:
    """Test every latent against every term.

    Parameters
    ----------
    latents_PF : csr_array, shape=(P, F)
        Raw activations, one row a protein.
    accessions : sequence of str, shape=(P,)
        The proteins.
    term_table : polars.DataFrame
        ``accession``, ``concept``: see :func:`build_term_table`. The background is the proteins
        that carry any term at all; about the others nothing is known.
    level : float
        Share of the latent's maximum above which a protein activates it.
    max_activation : array_like, optional, shape=(F,)
        The scale; by default the maximum over these proteins.
    min_proteins : int
        The least proteins of a term.
    fdr : float
        Pairs with a q-value up to this are returned.
    descriptions : polars.DataFrame, optional
        One row a term: ``concept`` and any of ``name``, ``namespace``, ``depth`` (int).

    Returns
    -------
    Enrichment
        All pairs of a live latent and a tested term are counted in the correction.
    """
    if latents_PF.shape[0] != len(accessions):
        raise InputError(f"{latents_PF.shape[0]} rows of latents, {len(accessions)} accessions")
    known = pl.Series(accessions, dtype=pl.String).is_in(term_table["accession"].unique().implode())
    background = np.flatnonzero(known.to_numpy())
    names = [accessions[int(i)] for i in background]
    table = build_term_table(term_table, names, min_proteins=min_proteins)
    if max_activation is None:
        max_activation = max_activations([latents_PF], latents_PF.shape[1])
    active_PF = active_proteins(latents_PF[background], max_activation, level)
    n_active_F = np.bincount(active_PF.indices, minlength=active_PF.shape[1])
    n_tests = int((n_active_F > 0).sum()) * len(table.terms)
    pairs = over_represented(active_PF, table, max_p=fdr)
    q = benjamini_hochberg(10 ** pairs["log10_p"].to_numpy(), n_tests)
    pairs = pairs.with_columns(pl.Series("q", q)).select(PAIR_SCHEMA.keys())
    pairs = pairs.filter(pl.col("q") <= fdr)
    if descriptions is not None:
        pairs = pairs.join(descriptions.unique("concept"), on="concept", how="left")
    pairs = pairs.sort("latent", "log10_p", "concept")
    return Enrichment(pairs=pairs, summary=_summary(pairs, n_active_F, len(names), table))


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
    table : TermTable
        The terms.
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


def _summary(
    pairs: pl.DataFrame, n_active_F: Int64, n_proteins: int, table: TermTable
) -> dict[str, float]:
    n_live = int((n_active_F > 0).sum())
    tied = pairs["latent"].n_unique()
    summary: dict[str, float] = {
        "n_proteins": n_proteins,
        "n_live_latents": n_live,
        "n_terms": len(table.terms),
        "n_pairs": pairs.height,
        "n_terms_found": pairs["concept"].n_unique(),
        "n_latents_tied": tied,
        "latents_tied": tied / max(n_live, 1),
        "median_information": float(pairs["information"].median() or 0),  # type: ignore[arg-type]
    }
    if "depth" in pairs.columns:
        deep = pairs.drop_nulls("depth").group_by("depth").agg(pl.col("latent").n_unique())
        for depth, count in sorted(deep.rows()):
            summary[f"latents_tied_depth_{depth:02d}"] = count / max(n_live, 1)
    return summary
