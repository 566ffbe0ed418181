"""What the SAE has to beat: the same evaluation on latents that are not an SAE's.

Every baseline ends as sparse latents, or as a label table, so that it goes through
:func:`plmsae.concepts.baselines.comparison.count_detected` unchanged: same protocol, same table.

- the PLM's own neurons (:func:`signed_units`), both signs, as InterPLM compares with;
- PCA and ICA of the same activations (:mod:`plmsae.concepts.baselines.components`), both signs;
- an SAE of an untrained PLM (:mod:`plmsae.plm.untrained`);
- amino-acid identity and windows of three residues, which know no context beyond that;
- shuffled labels: every instance keeps its concept and length and lands anywhere it fits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.association.residue_control import LETTERS, residue_codes
from plmsae.concepts.labels.residue_labels import LABEL_COLUMNS, ResidueLabels
from plmsae.proteins.alphabet import AMINO_ACIDS

Float32 = npt.NDArray[np.float32]
_EDGE = len(AMINO_ACIDS) + 1  # beyond either end; one before it stands for any other letter
_WIDTH = _EDGE + 1


def signed_units(x_ND: Float32, centre_D: npt.ArrayLike | None = None) -> csr_array:
    """Turn signed units into non-negative latents, two each: above and below their centre.

    Parameters
    ----------
    x_ND : ndarray, shape=(N, D)
        Activations.
    centre_D : array_like, optional, shape=(D,)
        What counts as silent: the mean over a reference set, so that a unit with an offset does not
        fire everywhere. Zero by default.

    Returns
    -------
    csr_array, dtype=float32, shape=(N, 2 D)
        Columns ``0:D`` are relu(x − centre), ``D:2 D`` are relu(centre − x).
    """
    x = np.asarray(x_ND, dtype=np.float32)
    if centre_D is not None:
        x = x - np.asarray(centre_D, dtype=np.float32)
    both = np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=1)
    fires = both > 0
    # Twice as fast as letting scipy find the non-zeros.
    indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(fires, axis=1))])
    return csr_array((both[fires], np.nonzero(fires)[1], indptr), shape=both.shape)


def amino_acid_latents(sequences: Sequence[str]) -> list[csr_array]:
    """Return one latent a letter (A to Z, 26 columns) that fires 1.0 on that amino acid."""
    return [_one_hot(residue_codes([sequence]), LETTERS) for sequence in sequences]


def window_latents(sequences: Sequence[str]) -> list[csr_array]:
    """Return one latent for each window of three residues, firing 1.0 on its middle.

    The alphabet has 22 signs: the standard amino acids, any other letter, and the outside of the
    protein, hence 22³ = 10,648 columns, most of which never fire.
    """
    lookup = np.full(LETTERS, len(AMINO_ACIDS), dtype=np.int64)
    lookup[residue_codes([AMINO_ACIDS])] = np.arange(len(AMINO_ACIDS))
    latents = []
    for sequence in sequences:
        signs = np.pad(lookup[residue_codes([sequence])], 1, constant_values=_EDGE)
        window = (signs[:-2] * _WIDTH + signs[1:-1]) * _WIDTH + signs[2:]
        latents.append(_one_hot(window, _WIDTH**3))
    return latents


def shuffle_labels(
    labels: ResidueLabels, seed: int, group_P: npt.ArrayLike | None = None
) -> pl.DataFrame:
    """Move every instance to a random place, uniformly over all places where it fits.

    Parameters
    ----------
    group_P : array_like, optional, shape=(P,)
        The split of each protein; an instance stays in its split, so that every concept keeps its
        counts on both.

    Returns
    -------
    polars.DataFrame
        A label table over the same proteins.
    """
    rng = np.random.default_rng(seed)
    offsets = labels.offsets_P1
    group = np.zeros(len(labels.accessions), dtype=np.int64)
    if group_P is not None:
        group = np.unique(np.asarray(group_P), return_inverse=True)[1]
    protein, start = labels.protein_I, labels.start_I.copy()
    size = labels.end_I - start
    for number in np.unique(group):
        rows = np.flatnonzero(group[labels.protein_N] == number)
        waiting = np.flatnonzero(group[protein] == number)
        # Draw a row; keep it if the instance ends in the same protein. What never fits elsewhere,
        # such as a chain as long as the longest protein, stays where it is.
        for _ in range(200):
            if not len(waiting):
                break
            drawn = rng.choice(rows, len(waiting))
            end = offsets[np.searchsorted(offsets, drawn, side="right")]
            fits = drawn + size[waiting] <= end
            start[waiting[fits]] = drawn[fits]
            waiting = waiting[~fits]
    protein = np.searchsorted(offsets, start, side="right") - 1
    first = start - offsets[protein] + 1
    return pl.DataFrame(
        {
            "accession": pl.Series(labels.accessions, dtype=pl.String).gather(protein),
            "start": first.astype(np.int32),
            "end": (first + size - 1).astype(np.int32),
            "concept": pl.Series(labels.concepts, dtype=pl.String).gather(labels.concept_I),
            "kind": pl.Series(labels.kinds, dtype=pl.String).gather(labels.concept_I),
        }
    ).select(LABEL_COLUMNS)


def _one_hot(columns: npt.NDArray[np.int64], width: int) -> csr_array:
    indptr = np.arange(len(columns) + 1)
    ones = np.ones(len(columns), dtype=np.float32)
    return csr_array((ones, columns, indptr), shape=(len(columns), width))
