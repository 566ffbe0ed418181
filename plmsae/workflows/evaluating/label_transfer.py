"""Labels of the nearest labelled protein as baselines, for all proteins of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from plmsae.workflows.evaluating.annotated import Annotated
from plmsae.workflows.shared.progress import Progress, step
from plmsae.workflows.shared.requests import EvaluateRequest

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from plmsae.concepts.baselines.nearest_protein import Neighbours

HOMOLOGY, EMBEDDING = "best_hit", "nearest_embedding"
NOTES = {
    HOMOLOGY: "labels of the best hit, by {}",
    EMBEDDING: "labels of the nearest mean embedding (EAT, Heinzinger et al. 2022)",
}


@dataclass(frozen=True, kw_only=True)
class Transferred:
    """What the nearest labelled proteins say of each protein.

    Attributes
    ----------
    identity_P : ndarray, shape=(P,)
        Identity to the best labelled hit among the select proteins, itself left out; 0 without one.
    concepts : tuple of str
        Their names, sorted.
    calls : dict of str to polars.DataFrame
        By method, the labels transferred to each protein, as
        `plmsae.concepts.baselines.label_transfer.transfer_labels` returns them. Empty if the
        request wants no baselines.
    notes : dict of str to str
        By method, what a reader should know about it.
    """

    identity_P: NDArray[np.float64]
    concepts: tuple[str, ...]
    calls: dict[str, pl.DataFrame]
    notes: dict[str, str]

    def units_PC(self, method: str) -> csr_array:
        """Return the terms that a method transfers, as units of whole proteins, shape (P, C)."""
        from plmsae.concepts.baselines.label_transfer import as_latents
        from plmsae.concepts.latents import stack_rows

        one_row = [1] * len(self.identity_P)
        rows = as_latents(self.calls[method], self.concepts, one_row)
        return stack_rows(rows, len(self.concepts))


def transfer(
    request: EvaluateRequest,
    data: Annotated,
    concepts: pl.Series,
    states: Sequence[NDArray[np.floating]],
    progress: Progress,
    *,
    unit: str = "residue",
) -> Transferred:
    """Transfer labels to every protein from the nearest labelled one among the select proteins.

    Parameters
    ----------
    request : EvaluateRequest
        `baselines` is read.
    concepts : polars.Series of str
        The concepts whose labels are transferred.
    states : sequence of ndarray
        Activations (length, D) of each protein; empty: no nearest embedding.
    unit : str
        ``protein`` where labels are of whole proteins.
    """
    from plmsae.concepts.baselines.label_transfer import transfer_labels
    from plmsae.concepts.baselines.nearest_protein import nearest_by_embedding, nearest_by_homology
    from plmsae.concepts.labels.residue_labels import build_residue_labels
    from plmsae.proteins.search import describe_method

    whole = unit == "protein"
    lengths = [1 if whole else len(sequence) for sequence in data.sequences]
    table = data.labels.filter(pl.col("concept").is_in(concepts.implode()))
    labels = build_residue_labels(table, data.accessions, lengths)
    select = np.flatnonzero(data.split == "select")
    labelled = select[np.isin(select, labels.protein_I)]
    itself_P = np.full(len(data.sequences), -1)
    itself_P[labelled] = np.arange(len(labelled))
    references = [data.sequences[int(p)] for p in labelled]
    with step(progress, "transferring labels from the nearest labelled proteins"):
        nearest: dict[str, Neighbours] = {
            HOMOLOGY: nearest_by_homology(data.sequences, references, itself_P)
        }
        identity_P = np.zeros(len(data.sequences))
        identity_P[nearest[HOMOLOGY].query] = nearest[HOMOLOGY].similarity
        if len(states):
            means_PD = np.stack([x_ND.mean(0, dtype=np.float32) for x_ND in states])
            nearest[EMBEDDING] = nearest_by_embedding(means_PD, means_PD[labelled], itself_P)
        given = labels.take(labelled)
        calls = {
            name: transfer_labels(data.sequences, found, references, given, whole=whole)
            for name, found in nearest.items()
            if request.baselines != "none"
        }
    return Transferred(
        identity_P=identity_P,
        concepts=labels.concepts,
        calls=calls,
        notes={name: NOTES[name].format(describe_method("auto")) for name in calls},
    )
