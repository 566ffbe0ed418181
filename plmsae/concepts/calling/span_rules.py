"""How short a run may be and which gaps it may bridge: from the lengths of the labels alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.concepts.labels.residue_labels import ResidueLabels

MAX_GAP = 10


def span_rule(labelled_lengths: npt.ArrayLike, *, kind: str) -> tuple[int, int]:
    """Derive the shortest run and the widest gap of a concept from the lengths of its labels.

    Parameters
    ----------
    labelled_lengths : array_like of int
        Residues of each labelled instance of the proteins that choose.
    kind : str
        ``site`` or ``span``.

    Returns
    -------
    min_length, max_gap : int
        A run must be half as long as the 5 % quantile of the labelled lengths, so that a latent
        that marks the core of a helix keeps its calls and a single residue of a signal peptide is
        none. With q the 10 % quantile, gaps up to q / 4, at most 10 residues, are closed, so that
        two short instances with a linker stay two. 1 and 0 for sites.
    """
    lengths = np.asarray(labelled_lengths)
    if kind != "span" or not len(lengths):
        return 1, 0
    shortest = int(np.ceil(np.quantile(lengths, 0.05) / 2))
    # Half of two residues is one, but one residue is no span where no label is that short.
    shortest = max(shortest, min(2, int(lengths.min())))
    return shortest, min(int(np.quantile(lengths, 0.1) // 4), MAX_GAP)


def with_span_rule(concepts: pl.DataFrame, labels: ResidueLabels) -> pl.DataFrame:
    """Add ``min_length`` and ``max_gap`` to a table with one row for each concept of `labels`.

    Parameters
    ----------
    concepts : polars.DataFrame
        In the order of the labels' concepts.
    labels : ResidueLabels
        Of the proteins that choose.
    """
    size = labels.end_I - labels.start_I
    by_concept = np.argsort(labels.concept_I, kind="stable")
    labelled = np.split(size[by_concept], np.cumsum(labels.instances_C())[:-1])
    rules = [span_rule(n, kind=k) for n, k in zip(labelled, labels.kinds, strict=True)]
    return concepts.with_columns(
        pl.Series("min_length", [shortest for shortest, _ in rules], dtype=pl.Int32),
        pl.Series("max_gap", [gap for _, gap in rules], dtype=pl.Int32),
    )
