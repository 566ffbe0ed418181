"""What a protein-level SAE has to beat, as sets of active proteins for the same tests.

- the PLM's own neurons (means over residues), both signs;
- amino-acid composition and length, both signs: what no PLM is needed for;
- shuffled terms: every protein carries the terms of another of its split.

A latent that few proteins activate and one that half of them do have different chances of passing a
test. So every baseline unit is given the number of active proteins of some live latent, drawn
evenly from all of them: the proteins where the unit is highest. What is compared is then which
proteins come together, not how many.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.association.residue_control import LETTERS, residue_codes
from plmsae.concepts.enrichment.enrichment import shuffle_terms
from plmsae.concepts.latents import Float32, Int64
from plmsae.core.errors import InputError
from plmsae.proteins.alphabet import AMINO_ACIDS


def matched_units(
    x_PD: npt.NDArray[np.floating], like_PF: csr_array, select_P: Int64, *, seed: int = 0
) -> csr_array:
    """Return which proteins activate each signed unit, as many as activate latents of an SAE.

    Parameters
    ----------
    x_PD : ndarray, shape=(P, D)
        One value per protein and unit.
    like_PF : csr_array of int32 ones, shape=(P, F)
        Which proteins activate the latents.
    select_P : ndarray of int
        Rows of the select proteins. A unit's bound is the value that as many select proteins
        exceed as activate its latent; the others are held against the same bound.
    seed : int
        Of which unit goes with which latent.

    Returns
    -------
    csr_array of int32 ones, shape=(P, 2 D)
        Columns ``0:D`` are the highest proteins of each unit, ``D:2 D`` the lowest. Among proteins
        of equal value none is preferred: rather too few are active than some of them at random.
    """
    counts = np.bincount(like_PF[select_P].indices, minlength=like_PF.shape[1])
    counts = np.sort(counts[counts > 0])
    if not len(counts):
        raise InputError("no latent is active in any protein to choose on")
    values = np.concatenate([x_PD, -x_PD], axis=1).astype(np.float64)
    n_units = values.shape[1]
    # Even quantiles, not draws: the counts of few units are then like those of many latents.
    given = counts[((np.arange(n_units) + 0.5) * len(counts) / n_units).astype(np.int64)]
    given = np.random.default_rng(seed).permutation(given)
    ordered = -np.sort(-values[select_P], axis=0)
    ordered = np.concatenate([ordered, np.full((1, n_units), -np.inf)])
    bound = ordered[given, np.arange(n_units)]
    return csr_array((values > bound).astype(np.int32))


def composition(sequences: Sequence[str]) -> Float32:
    """Return the share of each of the 20 amino acids and the logarithm of the length, (P, 21)."""
    letters = residue_codes([AMINO_ACIDS])
    rows = np.zeros((len(sequences), len(AMINO_ACIDS) + 1), dtype=np.float32)
    for row, sequence in zip(rows, sequences, strict=True):
        counts = np.bincount(residue_codes([sequence]), minlength=LETTERS)
        row[:-1] = counts[letters] / max(len(sequence), 1)
        row[-1] = np.log(max(len(sequence), 1))
    return rows


def shuffle_within(
    terms: pl.DataFrame, accessions: Sequence[str], split: npt.ArrayLike, seed: int
) -> pl.DataFrame:
    """Give every annotated protein all the terms of another annotated one of its split."""
    known = set(terms["accession"])
    names = np.asarray(split)
    parts = []
    for number, side in enumerate(np.unique(names)):
        mine = [a for a, s in zip(accessions, names, strict=True) if s == side and a in known]
        parts.append(shuffle_terms(terms, mine, seed + number))
    return pl.concat(parts).drop_nulls("accession")
