"""Homology clusters, and splits that no cluster spans.

A split by proteins at random puts one member of a family in the training half and its sister in the
test half: what is then measured is memory. Here whole clusters go to one split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from plmsae.core.errors import InputError, TooFewClustersError
from plmsae.proteins.search import Method, describe_method, search

Ints = NDArray[np.int64]
IDENTITY = 0.3
"""Share of identical residues at which clusters are cut unless another is asked for."""


LINK_MARGIN = 0.05
"""Proteins are linked from that much less identity on than what clusters are cut at.

Where two programs align one pair, their identities differ by a few points: without a margin the
pairs next to the cut stand on both sides by another program's alignment.
"""


def cluster(
    sequences: Sequence[str],
    *,
    method: Method = "auto",
    identity: float = IDENTITY,
    coverage: float = 0.0,
    evalue: float = 1e-3,
) -> Ints:
    """Cluster proteins by homology, by single linkage: what is linked in any way is one cluster.

    Single linkage, because a split must separate *every* homologous pair that is known, not only
    members from a representative.

    Parameters
    ----------
    sequences : sequence of str
        Upper-case amino-acid letters.
    method : {"auto", "mmseqs", "diamond", "kmer"}
        The search that finds the links; see `plmsae.proteins.search.search`.
    identity : float
        Least share of identical residues in an alignment at which two proteins must be in one
        cluster, in [0, 1]; links are made from `LINK_MARGIN` less on.
    coverage : float
        Least share of both proteins that the alignment spans, in [0, 1]. 0, the default, also joins
        proteins that share one domain, which matters where labels are domains.
    evalue : float
        Greatest E-value of a link.

    Returns
    -------
    ndarray of int64, shape (n_sequences,)
        Cluster numbers from 0, in the order in which clusters first occur.

    Raises
    ------
    InputError
        If a share is not in [0, 1], or MMseqs2 is asked for and missing, or it fails.

    Notes
    -----
    All against all is searched, so that every hit is a link.
    """
    for name, share in (("identity", identity), ("coverage", coverage)):
        if not 0 <= share <= 1:
            raise InputError("a share must lie in [0, 1]", where=name, value=str(share))
    first_of: dict[str, int] = {}
    same = np.array([first_of.setdefault(text, at) for at, text in enumerate(sequences)], np.int64)
    hits = search(sequences, method=method, evalue=evalue)
    hits = hits.take((hits.identity >= identity - LINK_MARGIN) & (hits.coverage >= coverage))
    # Equal sequences belong together even where they are too short to be significant.
    everyone = np.arange(len(sequences))
    return components(
        len(sequences), np.concatenate([hits.query, everyone]), np.concatenate([hits.target, same])
    )


def cluster_table(
    table: pl.DataFrame, *, method: Method = "auto", identity: float | None = None
) -> Ints:
    """Return the cluster of each row of a `read_table` frame.

    The clusters that the table names (UniRef50) are used if every row has one and no `identity` is
    asked for; else the sequences are clustered, at 30 % identity if nothing else is said.
    """
    if identity is None and names_clusters(table):
        _, numbers = np.unique(table["cluster"].to_numpy(), return_inverse=True)
        return _in_order_of_occurrence(numbers)
    at = IDENTITY if identity is None else identity
    return cluster(table["sequence"].to_list(), method=method, identity=at)


def names_clusters(table: pl.DataFrame) -> bool:
    """Say whether every row of a `read_table` frame names its cluster."""
    return table.height > 0 and table["cluster"].null_count() == 0


def describe_clusters(table: pl.DataFrame, *, identity: float | None = None) -> str:
    """Say in words how `cluster_table` clusters a table: by whose clusters, at which identity."""
    if identity is None and names_clusters(table):
        kinds = {str(name).split("_")[0] for name in table["cluster"]}
        whose = kinds.pop() if len(kinds) == 1 else "the"
        return f"{whose if whose.startswith('UniRef') else 'the'} clusters of the table"
    cut = IDENTITY if identity is None else identity
    return f"{describe_method('auto')} clusters at {cut:.0%} identity"


def split(
    clusters: NDArray[np.integer], fractions: Mapping[str, float] | Sequence[float], seed: int
) -> Ints:
    """Give every cluster, whole, to one split.

    Parameters
    ----------
    clusters : ndarray of int, shape (n,)
        Cluster of each protein.
    fractions : mapping of str to float, or sequence of float
        Share of proteins wanted in each split; positive, together 1.

    Returns
    -------
    ndarray of int64, shape (n,)
        Number of the split, in the order of `fractions`.

    Raises
    ------
    InputError
        If the fractions are not positive or do not sum to 1, or a split would stay empty.

    Notes
    -----
    Clusters come in random order, large ones first, and each draws its split with a chance in
    proportion to what the split still lacks, among those with room for it. So every split gets
    families of every size, and shares are met to within a small cluster.
    """
    names = list(fractions) if isinstance(fractions, Mapping) else None
    shares = np.array(list(fractions.values() if isinstance(fractions, Mapping) else fractions))
    if not len(shares) or (shares <= 0).any() or not math.isclose(shares.sum(), 1, abs_tol=1e-6):
        raise InputError(
            "fractions must be positive and sum to 1",
            where="fractions",
            value=", ".join(map(str, shares)),
        )
    _, member, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    if len(sizes) < len(shares):
        raise TooFewClustersError(
            f"{len(sizes)} homology clusters cannot fill {len(shares)} splits",
            hint="give more proteins, or fewer splits",
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    draws = rng.random(len(sizes))
    lacking = shares * len(clusters)
    split_of = np.empty(len(sizes), np.int64)
    for place, number in enumerate(order):
        room = np.where(lacking >= sizes[number], lacking, 0.0)
        if not room.any():  # it fits nowhere: it goes where most is lacking
            choice = int(np.argmax(lacking))
        else:
            choice = int(np.searchsorted(np.cumsum(room), draws[place] * room.sum(), "right"))
        split_of[number] = choice
        lacking[choice] -= sizes[number]
    empty = np.setdiff1d(np.arange(len(shares)), split_of)
    if len(empty):
        shown = names[empty[0]] if names else f"number {empty[0]}"
        raise TooFewClustersError(
            f"the split {shown} would be empty: the homology clusters are too large for its share",
            hint="give more proteins, or raise its fraction",
        )
    return split_of[member]


def components(n: int, first: Ints, second: Ints) -> Ints:
    """Return the number of the connected component of each of `n` proteins, from their links."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    return _in_order_of_occurrence(labels)


def _in_order_of_occurrence(labels: NDArray[np.integer]) -> Ints:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]
