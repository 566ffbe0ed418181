"""What F1 is worth: that of a detector that always fires, and of one that fires at random.

F1 > 0.5 says little of a common concept. With prevalence p (the share of residues that are
labelled), a detector that fires on every residue has precision p and recall 1, so F1 is
2p / (1 + p): 0.5 at p = 1/3. A detector that fires on a share d of the residues at random has
precision p too. Its recall is d for sites; for spans, where one residue finds an instance, it is
the mean of 1 - (1 - d)^l over the lengths l of the instances. As that is at most 1, its F1 is never
above that of the first: a pair that beats the detector that always fires beats chance at any
density.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import Int64

Float64 = npt.NDArray[np.float64]

MARGIN = 0.05
"""By how much the F1 of a pair must exceed that of the detector that always fires, with the lower
end of the 95 % interval of the difference, for the pair to count as beyond chance."""


def labelled_residues(labels: ResidueLabels, concept_Q: Int64) -> Float64:
    """Return the labelled residues of some concepts in each protein, shape=(Q, P)."""
    n_proteins = len(labels.accessions)
    concept, start, end = labels.merged()
    protein = np.searchsorted(labels.offsets_P1, start, side="right") - 1
    flat = np.bincount(
        concept * n_proteins + protein,
        weights=end - start,
        minlength=labels.n_concepts * n_proteins,
    )
    residues: Float64 = flat.reshape(labels.n_concepts, n_proteins)[concept_Q].astype(np.float64)
    return residues


def f1_always_on(labels: ResidueLabels, concept_Q: Int64, weight_PB: npt.ArrayLike) -> Float64:
    """Return F1 of the detector that always fires, shape=(Q, B).

    Parameters
    ----------
    concept_Q : ndarray of int, shape=(Q,)
        Concept ids.
    weight_PB : array_like, shape=(P, B)
        How often each protein counts in each of B samples.
    """
    weight = np.asarray(weight_PB, dtype=np.float64)
    names, place = np.unique(concept_Q, return_inverse=True)
    labelled = labelled_residues(labels, names) @ weight
    total = np.diff(labels.offsets_P1) @ weight
    # 2p / (1 + p) with p = labelled / total.
    f1: Float64 = (2 * labelled / (total + labelled))[place]
    return f1


def f1_by_chance(labels: ResidueLabels, concept_Q: Int64, density_Q: Float64) -> Float64:
    """Return the F1 expected of firing on a share of the residues at random, shape=(Q,)."""
    f1 = np.zeros(len(concept_Q))
    length_I = (labels.end_I - labels.start_I).astype(np.float64)
    precision_C = labels.residues_C() / max(labels.n_rows, 1)
    for q, (concept, density) in enumerate(zip(concept_Q, density_Q, strict=True)):
        length = length_I[labels.concept_I == concept]
        if not len(length) or density <= 0:
            continue
        hit = np.mean(1 - (1 - density) ** length) if labels.is_span_C[concept] else density
        precision = precision_C[concept]
        f1[q] = 2 * precision * hit / (precision + hit)
    return f1
