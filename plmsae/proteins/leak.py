"""How many homologous pairs a split parts, by another search than the one that made its clusters.

A search cannot show what it misses. So clusters made by MMseqs2 are judged by the built-in search,
and clusters made by that by exhaustive Smith–Waterman alignment of a sample of the proteins with
all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plmsae.proteins.hits import Hits, hits_of
from plmsae.proteins.homology import align_pairs
from plmsae.proteins.search import Searcher, describe_method, search

IDENTITY, COVERAGE, EVALUE = 0.3, 0.5, 1e-3
"""Two proteins are a homologous pair if a significant alignment has that share of identical
residues and spans that share of both."""
CELLS = 4e10
"""Pairs of residues that the exhaustive measurement scores at most: some ten seconds."""


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Homologous pairs, and how many of them a split parts."""

    n_pairs: int
    """Homologous pairs found."""
    n_across: int
    """Those of which one protein is on either side."""
    judge: str
    """The search that found them, in words."""
    promised: bool = True
    """Whether the split is meant to keep homologues together; a split by organism is not."""

    @property
    def share(self) -> float | None:
        """Share of the pairs that stand on both sides; None without a pair."""
        return self.n_across / self.n_pairs if self.n_pairs else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % Wilson interval of the share, as if pairs were independent."""
        if not self.n_pairs:
            return None
        n, p, z = self.n_pairs, self.n_across / self.n_pairs, 1.959964
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        low = 0.0 if not self.n_across else float(middle - half)
        return low, float(middle + half)

    def metrics(self) -> dict[str, float]:
        """Return it as metrics.

        ``homology_leak_low``, the lower end of the interval, is what promotion tests: there is none
        where the split is not meant to keep homologues together.
        """
        found = {
            "homologous_pairs": float(self.n_pairs),
            "homologous_pairs_across": float(self.n_across),
        }
        if self.share is not None and self.interval is not None:
            low, high = self.interval
            found |= {"homology_leak": self.share, "homology_leak_high": high}
            if self.promised:
                found["homology_leak_low"] = low
        return found

    def line(self) -> str:
        """Return it in words."""
        if self.share is None or self.interval is None:
            return f"no homologous pairs were found ({self.judge})"
        return (
            f"{self.n_across:,} of {self.n_pairs:,} homologous pairs stand on both sides of the "
            f"split: {self.share:.1%} [{self.interval[0]:.1%}, {self.interval[1]:.1%}] "
            f"({IDENTITY:.0%} identity over {COVERAGE:.0%} of both; {self.judge})"
        )


def measure_leak(
    sequences: Sequence[str],
    sides: NDArray[np.generic],
    *,
    made_by: Searcher | None,
    promised: bool = True,
    seed: int = 0,
) -> Leak:
    """Count the homologous pairs of which one protein is on either side of a split.

    Parameters
    ----------
    sequences : sequence of str
        Upper-case amino-acid letters.
    sides : ndarray, shape (n_sequences,)
        The side of each protein.
    made_by : {"mmseqs", "diamond", "kmer"} or None
        The search that made the clusters; None if they come from elsewhere.
    promised : bool
        Whether the split is meant to keep homologues together.
    seed : int
        Of the sample, where there is one.
    """
    if made_by == "kmer":
        hits, n_sampled = search_exhaustively(sequences, seed=seed)
        whole = "all proteins" if n_sampled == len(sequences) else f"{n_sampled:,} sampled proteins"
        judge = f"exhaustive alignment of {whole} with all others"
    else:
        hits = search(sequences, method="kmer", evalue=EVALUE)
        judge = f"{describe_method('kmer')} search of all against all"
    pairs = hits.take((hits.identity >= IDENTITY) & (hits.coverage >= COVERAGE))
    across = sides[pairs.query] != sides[pairs.target]
    return Leak(n_pairs=len(pairs), n_across=int(across.sum()), judge=judge, promised=promised)


def search_exhaustively(
    sequences: Sequence[str], *, seed: int = 0, cells: float = CELLS
) -> tuple[Hits, int]:
    """Align a random sample of proteins with all others, each pair once.

    Parameters
    ----------
    sequences : sequence of str
        Upper-case amino-acid letters.
    seed : int
        Of the sample.
    cells : float
        Pairs of residues to score; as many proteins are drawn as that allows.

    Returns
    -------
    hits : Hits
        Those with an E-value of `EVALUE` at most.
    n_sampled : int
        Proteins drawn.
    """
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    residues = int(lengths.sum())
    order = np.random.default_rng(seed).permutation(len(sequences))
    spent = np.cumsum(lengths[order]) * residues
    chosen = order[: max(1, int(np.searchsorted(spent, cells, "right")))]
    rank = np.full(len(sequences), len(sequences))
    rank[chosen] = np.arange(len(chosen))
    rows = [np.zeros((0, 7))]
    for place, query in enumerate(chosen):
        later = np.flatnonzero(rank > place)  # a pair of two drawn proteins is met once
        rows.append(align_pairs(sequences, int(query), later, residues, EVALUE))
    return hits_of(np.concatenate(rows)), len(chosen)
