"""Called spans against labelled instances: which overlap, and how well.

A call is **right** if it shares at least one residue with a labelled instance of its concept; an
instance is **found** if a right call does so. That is what ``call_precision`` means everywhere in
plmsae. It is generous to long calls, so the intersection over union (IoU) stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.concepts.labels.residue_labels import ResidueLabels, ids_of
from plmsae.concepts.latents import Int64, expand


@dataclass(frozen=True, kw_only=True)
class Matches:
    """One value a call (K) or an instance (I), in the order of the calls and of the labels."""

    call_iou_K: npt.NDArray[np.float64]
    """Highest IoU with an instance of the call's concept; 0 for a wrong call."""
    instance_iou_I: npt.NDArray[np.float64]
    """Highest IoU with a call of the instance's concept; 0 for one not found."""
    concept_K: Int64
    """Concept id of each call."""

    @property
    def right_K(self) -> npt.NDArray[np.bool_]:
        """True for calls that overlap an instance of their concept."""
        return self.call_iou_K > 0

    def missed_C(self, labels: ResidueLabels) -> Int64:
        """Return how many instances of each concept of `labels` no call found, shape=(C,)."""
        missed = labels.concept_I[self.instance_iou_I <= 0]
        return np.bincount(missed, minlength=labels.n_concepts).astype(np.int64)


def match_calls(calls: pl.DataFrame, labels: ResidueLabels) -> Matches:
    """Compare calls with labels.

    Parameters
    ----------
    calls : polars.DataFrame
        As `calls.call_spans` gives them for the proteins of `labels`; calls
        of one concept do not overlap each other.
    labels : ResidueLabels
    """
    concept = ids_of(calls["concept"], labels.concepts)
    base = labels.offsets_P1[calls["protein"].to_numpy()]
    # All concepts on one line, each with room for every row, so that one search serves them all.
    line = concept * np.int64(labels.n_rows + 1)
    start = line + base + calls["start"].to_numpy() - 1
    end = line + base + calls["end"].to_numpy()
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    shift = labels.concept_I * np.int64(labels.n_rows + 1)
    label_start, label_end = shift + labels.start_I, shift + labels.end_I
    first = np.searchsorted(end, label_start, side="right")
    last = np.maximum(np.searchsorted(start, label_end, side="left"), first)
    instance = np.repeat(np.arange(labels.n_instances), last - first)
    call = expand(first, last)
    shared = np.minimum(end[call], label_end[instance]) - np.maximum(
        start[call], label_start[instance]
    )
    union = (end - start)[call] + (label_end - label_start)[instance] - shared
    iou = shared / union
    call_iou = np.zeros(len(start))
    np.maximum.at(call_iou, order[call], iou)
    instance_iou = np.zeros(labels.n_instances)
    np.maximum.at(instance_iou, instance, iou)
    return Matches(call_iou_K=call_iou, instance_iou_I=instance_iou, concept_K=concept)
