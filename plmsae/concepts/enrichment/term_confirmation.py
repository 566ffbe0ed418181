"""Terms chosen on some families of proteins and confirmed on others.

After Gujral et al. (PNAS 2025), whose tests are made once, on the proteins that suggested them.
Here a pair of unit and term must be over-represented twice:

1. On the ``select`` proteins every live unit is tested against every term; Benjamini-Hochberg over
   all of these tests chooses the pairs.
2. On the ``report`` proteins, of other homology clusters, only the chosen pairs are tested; a pair
   counts if it is significant there too, after Benjamini-Hochberg over the chosen.

The background of a term is the proteins that carry any term of its namespace: about the others
nothing is known. Proteins of one family are not independent, so within a split the p-values are too
small; that no family is in both splits is what the second test is for, and ``n_clusters`` says from
how many families the shared proteins of a pair come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.association.significance import benjamini_hochberg, log_hypergeometric_tail
from plmsae.concepts.enrichment.enrichment import TermTable, active_proteins, over_represented
from plmsae.concepts.latents import Float32, Int64, max_activations
from plmsae.core.errors import InputError

FDR = 0.05
LEVELS = (0.15, 0.3, 0.5, 0.8)
"""Shares of a unit's maximum that are tried as the level above which a protein activates it."""

_PAIRS = 4_096  # pairs worked on at a time

PAIR_COLUMNS = (
    "latent", "concept", "namespace",
    "n_active_select", "n_concept_select", "n_both_select", "fold_select", "log10_p_select",
    "q_select",
    "n_active", "n_concept", "n_both", "n_clusters", "fold", "odds", "log10_p", "q", "confirmed",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Space:
    """One namespace, laid over the proteins of both splits."""

    namespace: str
    select_P: Int64
    """Rows of the select proteins that carry any of its terms: the background."""
    select: TermTable
    report_P: Int64
    """The same of the report proteins."""
    report: TermTable
    """The same terms in the same order."""


@dataclass(frozen=True, kw_only=True)
class SplitTerms:
    """Terms laid over split proteins, ready for any number of methods."""

    spaces: tuple[Space, ...]
    select_P: Int64
    """Rows of all select proteins."""
    cluster_P: Int64
    """Homology cluster of every protein."""

    @property
    def n_terms(self) -> int:
        """Number of terms tested."""
        return sum(len(space.select.terms) for space in self.spaces)

    def terms_of(self, descriptions: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a table with ``concept`` and ``namespace`` whose terms are tested."""
        tested = pl.DataFrame(
            [(term, space.namespace) for space in self.spaces for term in space.select.terms],
            schema={"concept": pl.String, "namespace": pl.String},
            orient="row",
        )
        return descriptions.join(tested, on=["concept", "namespace"], how="semi")


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What became of the pairs of one method."""

    pairs: pl.DataFrame
    """The chosen pairs, `PAIR_COLUMNS`: counts of proteins, ``fold`` (observed over expected),
    ``odds`` (ratio, half a protein added to each cell), ``log10_p`` and ``q``, those with
    ``_select`` of the select split, the others of the report split; ``confirmed``."""
    n_units: int
    n_live: int
    """Units that some select protein activates."""

    @property
    def confirmed(self) -> pl.DataFrame:
        """The pairs that count."""
        return self.pairs.filter(pl.col("confirmed"))


def lay_out(
    terms: pl.DataFrame,
    accessions: Sequence[str],
    split: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    *,
    min_proteins: int = 10,
) -> SplitTerms:
    """Lay terms over split proteins.

    Parameters
    ----------
    terms : polars.DataFrame
        ``accession``, ``concept``, ``namespace``; ancestors included.
    accessions : sequence of str, shape=(P,)
        The proteins.
    split : array_like of str, shape=(P,)
        ``select`` or ``report``.
    clusters : array_like of int, optional, shape=(P,)
        Homology clusters; by default every protein is its own.
    min_proteins : int
        Select proteins that a term needs. Terms that all of a background carry are left out too:
        neither can be significant, and each costs power.

    Raises
    ------
    InputError
        If a cluster is in both splits, or no term is left.
    """
    names, all_accessions = np.asarray(split), pl.Series(list(accessions), dtype=pl.String)
    cluster_P = np.arange(len(names)) if clusters is None else np.asarray(clusters)
    both = np.intersect1d(cluster_P[names == "select"], cluster_P[names == "report"])
    if len(both):
        raise InputError(
            f"{len(both)} homology clusters have proteins both in 'select' and in 'report'",
            value=str(both[0]),
            hint="split by cluster",
        )
    spaces, unreported = [], []
    most = 0
    for (namespace,), rows in terms.group_by("namespace", maintain_order=True):
        known = all_accessions.is_in(rows["accession"].unique().implode()).to_numpy()
        place = {side: np.flatnonzero(known & (names == side)) for side in ("select", "report")}
        held = {side: all_accessions.gather(place[side]) for side in place}
        here = rows.filter(pl.col("accession").is_in(held["select"].implode()))
        counts = here.unique().group_by("concept").agg(pl.len().alias("n"))
        counts = counts.filter(pl.col("n") < len(held["select"]))
        most = max([most, *counts["n"]])
        kept = counts.filter(pl.col("n") >= max(min_proteins, 1))["concept"].sort()
        if kept.len() and not len(held["report"]):
            unreported.append(str(namespace))
        elif kept.len():
            spaces.append(
                Space(
                    namespace=str(namespace),
                    select_P=place["select"],
                    select=TermTable.of(rows, held["select"], kept),
                    report_P=place["report"],
                    report=TermTable.of(rows, held["report"], kept),
                )
            )
    if not spaces and unreported:
        raise InputError(
            "of the proteins to report on no term is known of the kinds that those to choose on "
            f"have: {', '.join(sorted(unreported))}",
            hint="export Gene Ontology IDs, EC number, Keywords or Protein families of both",
        )
    if not spaces:
        raise InputError(
            f"no term is carried by {min_proteins} of the proteins to choose on, and known of any "
            "of those to report on",
            value=f"at most {most}",
            hint="use more proteins, or a lower minimum of instances",
        )
    return SplitTerms(
        spaces=tuple(sorted(spaces, key=lambda space: space.namespace)),
        select_P=np.flatnonzero(names == "select"),
        cluster_P=cluster_P,
    )


def choose_level(latents_PF: csr_array, layout: SplitTerms) -> tuple[float, Float32]:
    """Return the level at which most latents are tied to a term, and the scale of each latent.

    One level for all latents, from the select proteins alone; of equals the lowest. A latent's
    scale is its maximum over the select proteins.
    """
    scale_F = max_activations([latents_PF[layout.select_P]], int(latents_PF.shape[1]))

    def tied(level: float) -> int:
        pairs, _ = _choose(active_proteins(latents_PF, scale_F, level), layout, FDR)
        return pairs["latent"].n_unique()

    return max(LEVELS, key=tied), scale_F


def confirm_terms(active_PF: csr_array, layout: SplitTerms, *, fdr: float = FDR) -> Confirmation:
    """Choose pairs of unit and term on the select proteins; test them on the report proteins.

    Parameters
    ----------
    active_PF : csr_array of int32 ones, shape=(P, F)
        Which proteins activate which unit (`enrichment.active_proteins`).
    fdr : float
        The level of both corrections.
    """
    pairs, n_live = _choose(active_PF, layout, fdr)
    parts = [_on_report(active_PF, space, layout.cluster_P, pairs) for space in layout.spaces]
    joined = pl.concat(parts)
    q = benjamini_hochberg(10 ** joined["log10_p"].to_numpy())
    joined = joined.with_columns(pl.Series("q", q), pl.Series("confirmed", q <= fdr))
    joined = joined.select(PAIR_COLUMNS).sort("latent", "log10_p_select", "concept")
    return Confirmation(pairs=joined, n_units=int(active_PF.shape[1]), n_live=n_live)


def _choose(active_PF: csr_array, layout: SplitTerms, fdr: float) -> tuple[pl.DataFrame, int]:
    """Return the pairs that are significant among the select proteins, and the live units."""
    n_tests = 0
    parts = []
    for space in layout.spaces:
        active = active_PF[space.select_P]
        live = len(np.unique(active.indices))
        n_tests += live * len(space.select.terms)
        found = over_represented(active, space.select, max_p=fdr)
        parts.append(found.with_columns(pl.lit(space.namespace).alias("namespace")))
    pairs = pl.concat(parts)
    q = benjamini_hochberg(10 ** pairs["log10_p"].to_numpy(), n_tests)
    n_live = len(np.unique(active_PF[layout.select_P].indices))
    chosen = pairs.with_columns(pl.Series("q", q)).filter(pl.col("q") <= fdr)
    renamed = ("n_active", "n_concept", "n_both", "fold", "log10_p", "q")
    return chosen.rename({name: f"{name}_select" for name in renamed}), n_live


def _on_report(
    active_PF: csr_array, space: Space, cluster_P: Int64, pairs: pl.DataFrame
) -> pl.DataFrame:
    """Add to the pairs of one namespace what they show on the report proteins."""
    mine = pairs.filter(pl.col("namespace") == space.namespace)
    number = {term: index for index, term in enumerate(space.report.terms)}
    latent = mine["latent"].to_numpy().astype(np.int64)
    term = np.array([number[name] for name in mine["concept"]], dtype=np.int64)
    active_FP = csr_array(active_PF[space.report_P].T)
    carries_CP = csr_array(space.report.carries_PC.T)
    total = len(space.report_P)
    n_active, n_term = (
        np.diff(active_FP.indptr)[latent].astype(np.int64),
        space.report.count_C[term],
    )
    both = np.zeros(len(latent), dtype=np.int64)
    families = np.zeros(len(latent), dtype=np.int64)
    family_P = np.unique(cluster_P[space.report_P], return_inverse=True)[1]
    for first in range(0, len(latent), _PAIRS):
        block = slice(first, first + _PAIRS)
        shared = csr_array(active_FP[latent[block]].multiply(carries_CP[term[block]]))
        counts = np.diff(shared.indptr)
        both[block] = counts
        pair = np.repeat(np.arange(len(counts)), counts)
        distinct = np.unique(pair * (total + 1) + family_P[shared.indices]) // (total + 1)
        families[block] = np.bincount(distinct, minlength=len(counts))
    expected = n_active * n_term / max(total, 1)
    fold = np.divide(both, expected, out=np.zeros(len(both)), where=expected > 0)
    over = both > expected
    log_p = np.where(over, log_hypergeometric_tail(both, n_active, n_term, total), 0.0)
    only_active, only_term = n_active - both, n_term - both
    neither = total - both - only_active - only_term
    odds = (both + 0.5) * (neither + 0.5) / ((only_active + 0.5) * (only_term + 0.5))
    return mine.drop("information").with_columns(
        pl.Series("n_active", n_active, dtype=pl.Int64),
        pl.Series("n_concept", n_term, dtype=pl.Int64),
        pl.Series("n_both", both, dtype=pl.Int64),
        pl.Series("n_clusters", families, dtype=pl.Int64),
        pl.Series("fold", fold, dtype=pl.Float64),
        pl.Series("odds", odds, dtype=pl.Float64),
        pl.Series("log10_p", log_p / np.log(10), dtype=pl.Float64),
    )
