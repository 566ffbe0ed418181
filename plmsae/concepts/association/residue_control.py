"""Is it a disulfide feature or a cysteine feature? Scores among residues of one amino acid.

A latent that fires on every cysteine scores well on disulfide bonds without knowing one. Three
measures take the amino acid out:

- F1 among the residues of the concept's commonest amino acid only, next to the F1 of a detector
  that calls every one of them;
- the precision, next to the one expected if the firing residues kept their amino acids but were
  otherwise drawn at random;
- AUROC within each amino acid, averaged with the number of (labelled, unlabelled) pairs as weight:
  0.5 if the latent holds nothing beyond the amino acid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.concepts.association.pairs import PairActivations
from plmsae.concepts.association.ranking import auroc, sort_steps
from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import Int64, expand
from plmsae.core.errors import InputError

Float64 = npt.NDArray[np.float64]
LETTERS = 26


def residue_codes(sequences: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return each residue as 0 (A) to 25 (Z), proteins under one another, shape=(N,).

    Raises
    ------
    InputError
        If a sequence holds anything but upper-case letters.
    """
    codes = np.frombuffer("".join(sequences).encode("utf-8"), dtype=np.uint8).astype(np.int64) - 65
    if len(codes) and not 0 <= codes.min() <= codes.max() < LETTERS:
        wrong = next(s for s in sequences if not (s.isascii() and s.isalpha() and s.isupper()))
        raise InputError("a sequence must be upper-case letters", value=wrong)
    return codes


def identity_control(
    pairs: PairActivations, threshold_Q: npt.ArrayLike, sequences: Sequence[str]
) -> pl.DataFrame:
    """Score pairs among residues of the same amino acid.

    Parameters
    ----------
    pairs : PairActivations
        The pairs, over the proteins to measure on.
    threshold_Q : array_like, shape=(Q,)
        Share of the latent's maximum that an activation must be above.
    sequences : sequence of str
        The proteins, in the order of the labels.

    Returns
    -------
    polars.DataFrame
        Q rows: ``amino_acid`` (commonest among the labelled residues), ``amino_acid_share`` (of the
        labelled residues), ``f1_same_residue`` and ``f1_every_residue`` (of the latent, and of
        calling every residue, among residues of that amino acid; recall by residue),
        ``precision_expected`` (from the amino acids of the firing residues alone) and
        ``auroc_same_residue``. Null where there is nothing to score.
    """
    labels = pairs.labels
    codes_N = residue_codes(sequences)
    if len(codes_N) != labels.n_rows:
        raise InputError(f"sequences of {len(codes_N)} residues, labels of {labels.n_rows}")
    total_A = np.bincount(codes_N, minlength=LETTERS).astype(np.float64)
    labelled_QA = _labelled_CA(labels, codes_N)[pairs.concept_Q]
    group_E = pairs.pair_E * LETTERS + codes_N[pairs.row_E]
    inside_E = pairs.inside_E()
    above_E = pairs.value_E > np.asarray(threshold_Q, dtype=np.float32)[pairs.pair_E]
    shape, size = (pairs.n_pairs, LETTERS), pairs.n_pairs * LETTERS
    fires_QA = np.bincount(group_E, weights=above_E, minlength=size).reshape(shape)
    found_QA = np.bincount(group_E, weights=above_E & inside_E, minlength=size).reshape(shape)

    rows = np.arange(pairs.n_pairs)
    commonest = labelled_QA.argmax(axis=1)
    labelled = labelled_QA.sum(axis=1)
    among = labelled_QA[rows, commonest]
    frequency_QA = np.nan_to_num(_share(labelled_QA, total_A))
    expected = _share((fires_QA * frequency_QA).sum(axis=1), fires_QA.sum(axis=1))
    steps = sort_steps(group_E, pairs.value_E, inside_E, size)
    area = auroc(steps, labelled_QA.ravel(), (total_A - labelled_QA).ravel()).reshape(shape)
    weight = labelled_QA * (total_A - labelled_QA)
    return pl.DataFrame(
        {
            "amino_acid": [chr(65 + code) for code in commonest],
            "amino_acid_share": _share(among, labelled),
            # 2 tp / (fires + labelled) is F1 by residue.
            "f1_same_residue": _share(
                2 * found_QA[rows, commonest], fires_QA[rows, commonest] + among
            ),
            "f1_every_residue": _share(2 * among, total_A[commonest] + among),
            "precision_expected": expected,
            "auroc_same_residue": _share((np.nan_to_num(area) * weight).sum(1), weight.sum(1)),
        }
    ).with_columns(
        pl.when(pl.Series(labelled > 0)).then(pl.col("amino_acid")).alias("amino_acid"),
        pl.col(pl.Float64).fill_nan(None),
    )


def _labelled_CA(labels: ResidueLabels, codes_N: Int64) -> Float64:
    """Count labelled residues by concept and amino acid."""
    concept, start, end = labels.merged()
    group = np.repeat(concept, end - start) * LETTERS + codes_N[expand(start, end)]
    count = np.bincount(group, minlength=labels.n_concepts * LETTERS)
    return count.reshape(-1, LETTERS).astype(np.float64)


def _share(part: Float64, whole: Float64) -> Float64:
    shape = np.broadcast_shapes(part.shape, whole.shape)
    share: Float64 = np.divide(part, whole, out=np.full(shape, np.nan), where=whole > 0)
    return share
