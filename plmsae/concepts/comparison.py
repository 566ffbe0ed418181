"""How many concepts a set of latents finds, whatever the latents are: the table of baselines.

Every method goes through the same protocol as the SAE: scale by the maximum over the select
proteins, choose pair and threshold on select, confirm on report at F1 > 0.5 on both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from plmsae.concepts.association import INTERPLM_THRESHOLDS, Counts
from plmsae.concepts.latents import Float32, max_activations, scale, stack_rows
from plmsae.concepts.residue_labels import ResidueLabels
from plmsae.concepts.selection import confirmed_pairs
from plmsae.concepts.tables import FOUND

#: Residues handled at a time; dense latents make this many rows × latents entries.
_ROWS = 20_000


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one method finds.

    Attributes
    ----------
    method : str
    n_latents : int
    n_features : int
        Latents with at least one concept at F1 > 0.5 on select and on report.
    concepts : tuple of str
        Concepts with at least one such latent.
    """

    method: str
    n_latents: int
    n_features: int
    concepts: tuple[str, ...]


def found_by(
    method: str,
    latents_of: Callable[[int], csr_array],
    select: tuple[np.ndarray, ResidueLabels],
    report: tuple[np.ndarray, ResidueLabels],
    n_latents: int,
) -> Found:
    """Run one method through the protocol, a few proteins at a time.

    Parameters
    ----------
    method : str
        Its name in the table.
    latents_of : callable
        Gives the (length, n_latents) latents of a protein by its index.
    select, report : tuple
        Indices of the proteins of a split, and the labels of exactly these, in this order. Both
        have the same concepts.
    n_latents : int
    """
    highest: Float32 = np.zeros(n_latents, dtype=np.float32)
    for index in select[0]:
        highest = np.maximum(highest, max_activations([latents_of(int(index))], n_latents))
    tables = []
    for proteins, labels in (select, report):
        counts = Counts(labels, n_latents, INTERPLM_THRESHOLDS)
        for first, last in _chunks(labels):
            rows = stack_rows([latents_of(int(i)) for i in proteins[first:last]], n_latents)
            counts.add(scale(rows, highest), labels.chunk(first, last))
        tables.append(counts)
    pairs = confirmed_pairs(*tables, above=FOUND)
    concepts = sorted({select[1].concepts[int(c)] for c in pairs[:, 0]})
    return Found(
        method=method,
        n_latents=n_latents,
        n_features=len(np.unique(pairs[:, 1])),
        concepts=tuple(concepts),
    )


def _chunks(labels: ResidueLabels) -> list[tuple[int, int]]:
    """Cut the proteins into stretches of about `_ROWS` residues."""
    starts = labels.offsets_P1
    cuts, first = [], 0
    n_proteins = len(starts) - 1
    while first < n_proteins:
        last = int(np.searchsorted(starts, starts[first] + _ROWS, side="right")) - 1
        last = min(max(last, first + 1), n_proteins)
        cuts.append((first, last))
        first = last
    return cuts
