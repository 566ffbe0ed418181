"""Calls that are meant to be right: rules for a target precision, or no calls at all.

The pair and threshold with the best F1 show what a latent detects; an annotator is held to a
precision instead. For each concept, a few of its best latents, and every way to make spans of them,
are tried on the ``select`` split (`calling.rule_search`). Of the ways whose precision, by the
*lower bound* of the interval, meets the target there, the one that finds most instances is taken
(of equals, the one with the highest bound), and measured once on ``report``. A concept whose bound
misses the target on either split abstains, and says why; its best way by F1 of spans is kept for
those who ask for less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.association.evidence import Split
from plmsae.concepts.calling.calibration import meets
from plmsae.concepts.calling.callers import with_caller
from plmsae.concepts.calling.calls import Segments, call_all
from plmsae.concepts.calling.decoders.segments import SegmentModel
from plmsae.concepts.calling.measuring import MEASURE_COLUMNS, label_shares, measure
from plmsae.concepts.calling.rule_search import LADDER, RULE_SCHEMA, search_rules
from plmsae.concepts.latents import Int64
from plmsae.core.errors import InputError

CANDIDATES = 5  # latents of each concept that the annotator tries

MEASURED_COLUMNS = (*MEASURE_COLUMNS, "label_whole_share", "label_one_residue_share")
ANNOTATOR_COLUMNS = (*RULE_SCHEMA, "select_low", "select_f1", *MEASURED_COLUMNS, "abstains")


@dataclass(frozen=True, kw_only=True)
class TunedAnnotator:
    """How each concept is called, and how well."""

    frame: pl.DataFrame
    """One row per concept: `ANNOTATOR_COLUMNS`."""
    segments: dict[str, SegmentModel] = field(default_factory=dict)
    """Of the concepts whose decoder is ``segments``."""


def tune_annotator(
    candidates_CR: npt.ArrayLike,
    select: Split,
    report: Split,
    max_activation_F: npt.ArrayLike,
    *,
    min_precision: float = 0.9,
    thresholds: Sequence[float] = LADDER,
) -> TunedAnnotator:
    """Choose how to call every concept for a target precision of its calls.

    Parameters
    ----------
    candidates_CR : array_like of int, shape=(C, R)
        Latents to try for each concept of the labels, best first; -1 for none
        (:func:`plmsae.concepts.association.selection.top_latents`).
    select, report : Split
        Where to choose, and where to measure; with clusters, intervals count families.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent.
    min_precision : float
        What the lower bound of the precision must reach, in [0, 1].
    thresholds : sequence of float
        Shares of the latent's maximum to try.

    Returns
    -------
    TunedAnnotator
        ``select_low`` and ``select_f1`` are of the select split, cross-validated for segments; the
        columns of `measuring.measure` are of the report split. ``abstains`` is null for a concept
        that may be called, else the reason.
        :func:`plmsae.concepts.calling.calls.call_spans` takes the rows that do not abstain.
    """
    if not 0 <= min_precision <= 1:
        raise InputError("the precision to reach is a share", value=str(min_precision))
    candidates = np.asarray(candidates_CR, dtype=np.int64)
    if candidates.shape[0] != select.labels.n_concepts:
        raise InputError(
            f"candidates of {candidates.shape[0]} concepts for {select.labels.n_concepts}"
        )
    scale = np.asarray(max_activation_F, dtype=np.float32)
    used, place = np.unique(np.maximum(candidates, 0), return_inverse=True)
    place = np.where(candidates < 0, -1, place.reshape(candidates.shape))
    rules = search_rules(
        place,
        Split(latents=_columns(select.latents, used), labels=select.labels,
              clusters=select.clusters),
        scale[used],
        good=lambda measured: meets(measured, min_precision).to_numpy(),
        thresholds=thresholds,
    )  # fmt: skip
    held_out = Split(
        latents=_columns(report.latents, used), labels=report.labels, clusters=report.clusters
    )
    on_report = measure_calls(rules.frame, held_out, scale[used], rules.segments)
    reason = (
        pl.when(pl.col("call_latent").is_null() | ~pl.col("good"))
        .then(pl.lit("no rule reaches the precision on select proteins"))
        .when(pl.col("n_calls") == 0)
        .then(pl.lit("no call on report proteins"))
        .when(~meets(on_report, min_precision))
        .then(pl.lit("the precision does not hold on report proteins"))
    )
    original = pl.Series(used).gather(rules.frame["call_latent"].fill_null(0)).cast(pl.Int32)
    frame = on_report.with_columns(
        pl.when(pl.col("call_latent").is_not_null()).then(original).alias("call_latent"),
        reason.alias("abstains"),
        *label_shares(select.labels).get_columns(),
    )
    return TunedAnnotator(frame=frame.select(ANNOTATOR_COLUMNS), segments=rules.segments)


def registered_concepts(
    concepts: pl.DataFrame, annotator: pl.DataFrame, min_precision: float
) -> pl.DataFrame:
    """Put the annotator's choice into the table that is registered with a model.

    Latent, decoder, threshold, span rule and what is measured of the calls are the annotator's;
    ``caller`` says whether a latent or a probe makes them (then ``call_latent`` is null). The best
    pair and what was measured of it stay as they are. For a concept that
    abstains they are of its best way by F1 of spans, for those who ask for a lower precision
    (`calibration.highest_bar`): ``abstains`` is the reason, and ``abstains_at`` the precision that
    was asked for; both are null for the others. A concept of which every way is degenerate, or that
    has no latent, has no ``call_latent`` and no ``call_threshold``, so that it is never called.

    Parameters
    ----------
    concepts : polars.DataFrame
        ``Evaluation.concepts``.
    annotator : polars.DataFrame
        Of `tune_annotator` or `caller_selection.choose_callers`, on the same concepts.
    min_precision : float
        What the annotator was tuned for.
    """
    rule = [name for name in RULE_SCHEMA if name not in ("concept", "kind")]
    tuned = with_caller(annotator)
    called = [name for name in (*rule, "caller", *MEASURED_COLUMNS) if name in tuned.columns]
    tuned = tuned.select("concept", *called, pl.col("abstains").cast(pl.String))
    joined = concepts.drop([name for name in called if name in concepts.columns]).join(
        tuned, on="concept", how="left", maintain_order="left"
    )
    kept = [name for name in concepts.columns if name != "caller"]
    added = [name for name in called if name not in kept]
    return joined.with_columns(
        pl.when(pl.col("abstains").is_not_null()).then(pl.lit(min_precision)).alias("abstains_at"),
        *(pl.col(name).cast(concepts.schema[name]) for name in called if name in concepts.columns),
    ).select(*kept, *added, "abstains", "abstains_at")


def measure_calls(
    concepts: pl.DataFrame, split: Split, scale_F: npt.ArrayLike, segments: Segments | None = None
) -> pl.DataFrame:
    """Make the calls of `concepts` on a split; add what they are worth (`measuring.measure`).

    Parameters
    ----------
    concepts : polars.DataFrame
        One row for each concept of the labels, in their order, as ``call_spans`` takes them.
    scale_F : array_like, shape=(F,)
        The scale of each latent.
    segments : mapping of str to SegmentModel, optional
        Of the concepts whose decoder is ``segments``.
    """
    return measure(concepts, call_all(split.latents, concepts, scale_F, segments), split)


def _columns(latents: Sequence[csr_array], used: Int64) -> list[csr_array]:
    return [csr_array(array[:, used]) for array in latents]
