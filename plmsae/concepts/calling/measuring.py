"""What the calls of each concept are worth on labelled proteins, all by one rule.

The headline is the precision of `calling.matching`'s rule. Beside it stand the two that others use:
the share of called residues that are labelled, and the share of calls that touch a labelled
instance (what plmsae called precision until bundle format 2).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.concepts.association.evidence import Split
from plmsae.concepts.calling.calibration import call_precision
from plmsae.concepts.calling.matching import EXACT_END, Matches, match_calls
from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import Int64

WHOLE = 0.9
"""Share of a protein above which a span counts as the whole protein."""
WHOLE_EXCESS = 0.2
"""By how much the share of whole-protein calls may exceed that of whole-protein labels."""
MIN_IOU = 0.2
"""Lowest IoU that a right call can have: a quarter of an instance, covered by a call that lies in
it altogether, is a quarter of their union; half of a call on a quarter of an instance is a fifth.
Calls whose mean is below that are not calls of the labelled spans."""

MEASURE_COLUMNS = (
    "call_precision", "call_precision_low", "call_precision_high", "n_calls", "true_calls",
    "false_calls", "missed_instances", "instances_found", "span_f1", "iou", "touch_iou",
    "call_precision_touch", "call_precision_residue", "whole_share", "one_residue_share",
    "end_exact",
)  # fmt: skip
"""What :func:`measure` adds."""


def measure(rows: pl.DataFrame, calls: pl.DataFrame, split: Split) -> pl.DataFrame:
    """Add to rules what their calls are worth.

    Parameters
    ----------
    rows : polars.DataFrame
        One row for each concept of the labels, in their order.
    calls : polars.DataFrame
        Their calls on the proteins of `split`.
    split : Split
        With clusters, intervals count families.

    Returns
    -------
    polars.DataFrame
        With `MEASURE_COLUMNS`: precision and counts as `calibration.call_precision` returns them;
        ``instances_found`` (share); ``span_f1``, the harmonic mean of precision and
        ``instances_found``; ``iou`` (mean over right calls); ``touch_iou`` (mean over calls that
        touch a label); precision by touching and by residue; the shares of calls that cover more
        than `WHOLE` of their protein, and that have one residue; ``end_exact``, the share of right
        calls whose end is within `EXACT_END` residues. Null where there is nothing to divide by.
    """
    labels = split.labels
    matches = match_calls(calls, labels)
    protein = calls["protein"].to_numpy()
    cluster_K = None if split.clusters is None else np.asarray(split.clusters)[protein]
    size = np.diff(labels.offsets_P1)[protein]
    return rows.with_columns(measure_matches(matches, labels, size, cluster_K).get_columns())


def measure_matches(
    matches: Matches, labels: ResidueLabels, protein_length_K: Int64, cluster_K: Int64 | None
) -> pl.DataFrame:
    """Return `MEASURE_COLUMNS` of calls that were matched; see :func:`measure`."""
    n, concept, right = labels.n_concepts, matches.concept_K, matches.right_K
    precision = call_precision(right, concept, n, cluster_K)
    found = _mean(matches.found_I, labels.concept_I, n)
    touches = matches.touches_K
    length = matches.length_K
    residues = _sum(matches.residues_K, concept, n)
    shares = {
        "iou": _mean(matches.call_iou_K[right], concept[right], n),
        "touch_iou": _mean(matches.call_iou_K[touches], concept[touches], n),
        "call_precision_touch": _mean(touches, concept, n),
        "call_precision_residue": _divide(residues, _sum(length, concept, n)),
        "whole_share": _mean(length > WHOLE * protein_length_K, concept, n),
        "one_residue_share": _mean(length == 1, concept, n),
        "end_exact": _mean((matches.end_error_K <= EXACT_END)[right], concept[right], n),
    }
    p = precision["call_precision"].fill_null(0).to_numpy()
    f1 = _divide(2 * p * np.nan_to_num(found), p + np.nan_to_num(found))
    return precision.with_columns(
        pl.Series("missed_instances", matches.missed_C(labels)),
        pl.Series("instances_found", found).fill_nan(None),
        pl.Series("span_f1", np.nan_to_num(f1)),
        *(pl.Series(name, values).fill_nan(None) for name, values in shares.items()),
    ).select(MEASURE_COLUMNS)


def label_shares(labels: ResidueLabels) -> pl.DataFrame:
    """Return how often the labels of each concept are whole proteins, or one residue long.

    Returns
    -------
    polars.DataFrame
        One row per concept: ``label_whole_share``, ``label_one_residue_share``; 0 without labels.
    """
    size = labels.end_I - labels.start_I
    protein = np.diff(labels.offsets_P1)[labels.protein_I]
    n = labels.n_concepts
    return pl.DataFrame(
        {
            "label_whole_share": np.nan_to_num(_mean(size > WHOLE * protein, labels.concept_I, n)),
            "label_one_residue_share": np.nan_to_num(_mean(size == 1, labels.concept_I, n)),
        }
    )


def _sum(values: npt.ArrayLike, group: Int64, n_groups: int) -> npt.NDArray[np.float64]:
    weights = np.asarray(values, dtype=np.float64)
    total: npt.NDArray[np.float64] = np.bincount(group, weights=weights, minlength=n_groups).astype(
        np.float64
    )
    return total


def _mean(values: npt.ArrayLike, group: Int64, n_groups: int) -> npt.NDArray[np.float64]:
    return _divide(_sum(values, group, n_groups), np.bincount(group, minlength=n_groups))


def _divide(total: npt.ArrayLike, count: npt.ArrayLike) -> npt.NDArray[np.float64]:
    a, b = np.asarray(total, dtype=np.float64), np.asarray(count, dtype=np.float64)
    quotient: npt.NDArray[np.float64] = np.divide(a, b, out=np.full(len(a), np.nan), where=b > 0)
    return quotient
