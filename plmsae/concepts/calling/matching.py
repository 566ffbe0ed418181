"""The one rule for "this call is right", used wherever plmsae counts right and wrong calls.

Precision, recall, F1 of spans, calibration, accuracy by distance, the back-test and the check of
proposals against a truth all decide by this module. It compares a call with the labelled instances
of its concept in the same protein:

**Span** (a domain, a helix, a signal peptide). A call and an instance *match* if at least half of
the call lies in the instance (`CALL_SHARE`) and the call covers at least a quarter of the instance
(`INSTANCE_SHARE`). So a call that runs over a whole protein, or over several helices, matches
nothing, and neither does a single residue of a domain. Calls and instances are paired one to one,
the pair with the highest intersection over union (IoU) first: of two calls on one instance one is
right, and the other is wrong. Unpaired instances are missed.

**Site** (an active site, a modified residue) and **protein** (a term of a whole protein, whose only
row is the site). A call is one residue, and it is right if that residue is labelled. A site of
several residues is found if the calls cover at least a quarter of it.

**Anchored span** (a span that starts at the N-terminus, such as a signal peptide): the rule of
spans decides; how often the end is exact stands beside it, see `Matches.end_error_K`.

Precedents. Secondary structure is judged by segments and not by residues since Sov (Rost et al., J.
Mol. Biol. 235, 1994; Zemla et al., Proteins 34, 1999): a prediction must overlap *one* observed
segment, splitting and merging costs, and how well it overlaps is a number of its own, as IoU is
here. Membrane predictors count a helix as right if it overlaps the observed one by 5 residues, each
observed helix counting once (Nugent & Jones, BMC Bioinformatics 10:159, 2009); a quarter of a helix
of 21 residues is 6. Signal peptides are judged twice, by whether there is one and by whether the
cleavage site is within 0 to 3 residues (Bendtsen et al., J. Mol. Biol. 340, 2004; Almagro
Armenteros et al., Nat. Biotechnol. 37, 2019). Terms of whole proteins are judged by protein and
term, with the ancestors of a term implied (CAFA: Radivojac et al., Nat. Methods 10, 2013). InterPLM
(Simon & Zou 2025) counts residues for precision and touched domains for recall; the share of calls
that touch an instance stays visible as `Matches.touches_K`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.concepts.labels.residue_labels import ResidueLabels, ids_of
from plmsae.concepts.latents import Int64, expand

CALL_SHARE = 0.5
"""Share of a called span that must lie in one labelled instance."""
INSTANCE_SHARE = 0.25
"""Share of a labelled instance that a call (of a site: all calls) must cover."""
EXACT_END = 3
"""Residues by which the end of a signal peptide may differ to count as exact."""

RULE = (
    "A called span is right if at least half of it lies in one labelled instance of its concept "
    "and it covers at least a quarter of that instance; each instance makes one call right. A "
    "called site is right if its residue is labelled."
)
"""The rule in two sentences, for cards and reports."""

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Matches:
    """One value for each call (K) or instance (I), in the order of the calls and of the labels."""

    right_K: Bool
    """Whether the call is right."""
    found_I: Bool
    """Whether the instance is found."""
    touches_K: Bool
    """Whether the call shares a residue with an instance of its concept."""
    call_iou_K: Float64
    """IoU of a right call with its instance, else the highest IoU with any instance; 0 without."""
    instance_iou_I: Float64
    """Highest IoU with a call of the instance's concept; 0 for one that no call touches."""
    residues_K: Int64
    """Residues of the call that are labelled with its concept."""
    length_K: Int64
    """Residues of the call."""
    end_error_K: Float64
    """Residues between the ends of a right call and its instance; NaN for wrong calls."""
    concept_K: Int64

    def missed_C(self, labels: ResidueLabels) -> Int64:
        """Return how many instances of each concept of `labels` no call found, shape=(C,)."""
        missed = labels.concept_I[~self.found_I]
        return np.bincount(missed, minlength=labels.n_concepts).astype(np.int64)


def match_calls(calls: pl.DataFrame, labels: ResidueLabels) -> Matches:
    """Compare calls with labels.

    Parameters
    ----------
    calls : polars.DataFrame
        As `calls.call_spans` gives them for the proteins of `labels`; calls of one concept do not
        overlap each other.
    """
    concept = ids_of(calls["concept"], labels.concepts)
    base = labels.offsets_P1[calls["protein"].to_numpy()]
    # All concepts on one line, each with room for every row, so that one search serves them all.
    line = concept * np.int64(labels.n_rows + 1)
    start = line + base + calls["start"].to_numpy() - 1
    end = line + base + calls["end"].to_numpy()
    shift = labels.concept_I * np.int64(labels.n_rows + 1)
    label_start, label_end = shift + labels.start_I, shift + labels.end_I
    call, instance = _overlapping(start, end, label_start, label_end)
    shared = np.minimum(end[call], label_end[instance]) - np.maximum(
        start[call], label_start[instance]
    )
    union = (end - start)[call] + (label_end - label_start)[instance] - shared
    iou = shared / union
    right, found, partner = decide(
        call, instance, shared, end - start, label_end - label_start,
        labels.is_span_C[concept[call]],
    )  # fmt: skip
    n_calls, n_instances = len(start), labels.n_instances
    call_iou, instance_iou = np.zeros(n_calls), np.zeros(n_instances)
    np.maximum.at(call_iou, call, iou)
    np.maximum.at(instance_iou, instance, iou)
    paired = partner[call] == instance
    call_iou[call[paired]] = iou[paired]
    error = np.full(n_calls, np.nan)
    error[call[paired]] = np.abs(end[call] - label_end[instance])[paired]
    touches = np.zeros(n_calls, dtype=bool)
    touches[call] = True
    return Matches(
        right_K=right,
        found_I=found,
        touches_K=touches,
        call_iou_K=call_iou,
        instance_iou_I=instance_iou,
        residues_K=_labelled_residues(start, end, labels),
        length_K=end - start,
        end_error_K=error,
        concept_K=concept,
    )


def decide(
    call_Q: Int64,
    instance_Q: Int64,
    shared_Q: Int64,
    length_K: Int64,
    length_I: Int64,
    is_span_Q: Bool,
) -> tuple[Bool, Bool, Int64]:
    """Apply the rule to all pairs of a call and an instance that share a residue.

    Parameters
    ----------
    call_Q, instance_Q : ndarray of int, shape=(Q,)
        The pairs, of calls and instances of one concept in one protein.
    shared_Q : ndarray of int, shape=(Q,)
        Residues that they share, 1 or more.
    length_K, length_I : ndarray of int
        Residues of every call and of every instance.
    is_span_Q : ndarray of bool, shape=(Q,)
        Whether the concept of the pair is a span.

    Returns
    -------
    right_K, found_I : ndarray of bool
        Which calls are right, and which instances are found.
    partner_K : ndarray of int
        The instance that made a call right; -1 for a wrong call.
    """
    partner = np.full(len(length_K), -1, dtype=np.int64)
    found = np.zeros(len(length_I), dtype=bool)
    fits = is_span_Q & (shared_Q >= CALL_SHARE * length_K[call_Q])
    fits &= shared_Q >= INSTANCE_SHARE * length_I[instance_Q]
    union = length_K[call_Q] + length_I[instance_Q] - shared_Q
    c, i = _one_to_one(call_Q[fits], instance_Q[fits], (shared_Q / union)[fits])
    partner[c] = i
    found[i] = True
    site = ~is_span_Q
    partner[call_Q[site]] = instance_Q[site]
    covered = np.bincount(instance_Q[site], weights=shared_Q[site], minlength=len(length_I))
    found |= (covered > 0) & (covered >= INSTANCE_SHARE * length_I)
    return partner >= 0, found, partner


def _one_to_one(call: Int64, instance: Int64, iou: Float64) -> tuple[Int64, Int64]:
    """Pair greedily by falling IoU; of equals the earlier call, then the earlier instance, first.

    Pairs that are the best of both their call and their instance are those that the greedy order
    would take next, so that they can all be taken at once.
    """
    order = np.lexsort([instance, call, -iou])
    call, instance = call[order], instance[order]
    taken: list[tuple[Int64, Int64]] = []
    while len(call):
        rank = np.arange(len(call))
        best = np.zeros(len(call), dtype=bool)
        for_call = np.unique(call, return_index=True)[1]
        for_instance = np.unique(instance, return_index=True)[1]
        best[np.intersect1d(rank[for_call], rank[for_instance])] = True
        taken.append((call[best], instance[best]))
        left = ~np.isin(call, call[best]) & ~np.isin(instance, instance[best])
        call, instance = call[left], instance[left]
    if not taken:
        return call, instance
    calls, instances = zip(*taken, strict=True)
    return np.concatenate(calls), np.concatenate(instances)


def _overlapping(
    start: Int64, end: Int64, label_start: Int64, label_end: Int64
) -> tuple[Int64, Int64]:
    """Return call and instance of every pair that shares a residue; calls do not overlap."""
    order = np.argsort(start, kind="stable")
    first = np.searchsorted(end[order], label_start, side="right")
    last = np.maximum(np.searchsorted(start[order], label_end, side="left"), first)
    instance = np.repeat(np.arange(len(label_start)), last - first)
    return order[expand(first, last)], instance


def _labelled_residues(start: Int64, end: Int64, labels: ResidueLabels) -> Int64:
    """Return how many residues of each call carry its concept."""
    concept, first, last = labels.merged()
    shift = concept * np.int64(labels.n_rows + 1)
    call, stretch = _overlapping(start, end, first + shift, last + shift)
    shared = np.minimum(end[call], (last + shift)[stretch])
    shared = shared - np.maximum(start[call], (first + shift)[stretch])
    return np.bincount(call, weights=shared, minlength=len(start)).astype(np.int64)
