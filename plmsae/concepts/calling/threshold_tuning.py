"""Calls that are meant to be right: thresholds for a target precision, or no calls at all.

The pair and threshold with the best F1 tell what a latent detects; an annotator is held to a
precision instead. For each concept, a few of its best latents and a ladder of thresholds are tried
on the ``select`` split. Of the candidates whose precision, by the *lower bound* of the interval,
meets the target there, the one that finds most instances is taken (of equals, the one with the
highest bound), and measured once on ``report``.
A concept whose bound misses the target on either split abstains, and says why.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.association.evidence import Split
from plmsae.concepts.association.tables import COUNT_COLUMNS
from plmsae.concepts.calling.calibration import call_precision, meets
from plmsae.concepts.calling.callers import with_caller
from plmsae.concepts.calling.calls import call_all
from plmsae.concepts.calling.matching import match_calls
from plmsae.concepts.calling.span_rules import with_span_rule
from plmsae.concepts.latents import Int64
from plmsae.core.errors import InputError

CANDIDATES = 5  # latents of each concept that the annotator tries
LADDER = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

ANNOTATOR_COLUMNS = (
    "concept", "kind", "latent", "threshold", "min_length", "max_gap", "select_low", "n_calls",
    "call_precision", "call_precision_low", "call_precision_high", *COUNT_COLUMNS,
    "instances_found", "iou", "abstains",
)  # fmt: skip


def tune_annotator(
    candidates_CR: npt.ArrayLike,
    select: Split,
    report: Split,
    max_activation_F: npt.ArrayLike,
    *,
    min_precision: float = 0.9,
    thresholds: Sequence[float] = LADDER,
) -> pl.DataFrame:
    """Choose latent and threshold of every concept for a target precision of its calls.

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
    polars.DataFrame
        One row a concept. ``select_low`` is the bound on the select split; ``n_calls``, the
        ``call_precision`` columns, ``instances_found`` (share) and ``iou`` (mean over right calls)
        are of the report split. ``abstains`` is null for a concept that may be called, else the
        reason. :func:`plmsae.concepts.calling.calls.call_spans` takes the rows that do not abstain.
    """
    if not 0 <= min_precision <= 1:
        raise InputError("the precision to reach is a share", value=str(min_precision))
    candidates = np.asarray(candidates_CR, dtype=np.int64)
    labels = select.labels
    if candidates.shape[0] != labels.n_concepts:
        raise InputError(f"candidates of {candidates.shape[0]} concepts for {labels.n_concepts}")
    scale = np.asarray(max_activation_F, dtype=np.float32)
    used, place = np.unique(np.maximum(candidates, 0), return_inverse=True)
    place = np.where(candidates < 0, -1, place.reshape(candidates.shape))
    narrow = _columns(select.latents, used)
    on_select = Split(latents=narrow, labels=labels, clusters=select.clusters)
    best = _Best(labels.n_concepts)
    for rank in range(candidates.shape[1]):
        for threshold in thresholds:
            rows = pl.DataFrame(
                {
                    "concept": list(labels.concepts),
                    "kind": labels.kinds,
                    "latent": place[:, rank],
                    "threshold": np.full(labels.n_concepts, threshold),
                }
            ).with_columns(pl.when(pl.col("latent") >= 0).then(pl.col("latent")))
            rows = with_span_rule(rows, narrow, labels, scale[used])
            measured = measure_calls(rows, on_select, scale[used])
            best.offer(measured, meets(measured, min_precision).to_numpy())
    chosen = best.frame(labels.concepts, labels.kinds)
    narrow = _columns(report.latents, used)
    held_out = Split(latents=narrow, labels=report.labels, clusters=report.clusters)
    on_report = measure_calls(chosen, held_out, scale[used])
    reason = (
        pl.when(pl.col("latent").is_null())
        .then(pl.lit("no threshold reaches the precision on select proteins"))
        .when(pl.col("n_calls") == 0)
        .then(pl.lit("no call on report proteins"))
        .when(~meets(on_report, min_precision))
        .then(pl.lit("the precision does not hold on report proteins"))
    )
    original = pl.Series(used).gather(chosen["latent"].fill_null(0)).cast(pl.Int32)
    return on_report.with_columns(
        pl.when(pl.col("latent").is_not_null()).then(original).alias("latent"),
        reason.alias("abstains"),
    ).select(ANNOTATOR_COLUMNS)


def registered_concepts(
    concepts: pl.DataFrame, annotator: pl.DataFrame, min_precision: float
) -> pl.DataFrame:
    """Put the annotator's choice into the table that is registered with a model.

    For a concept that does not abstain, latent, threshold, span rule and the measured precision of
    calls are the annotator's, ``caller`` says whether a latent or a probe makes them (then
    ``latent`` is null); F1, precision and recall stay those of the best pair, whose latent is in
    ``f1_latent``. A concept that abstains keeps the best pair throughout, for those who ask for a
    lower precision (`calibration.highest_bar`): ``abstains`` is the reason,
    and ``abstains_at`` the precision that was asked for; both are null for the others.

    Parameters
    ----------
    concepts : polars.DataFrame
        ``Evaluation.concepts``.
    annotator : polars.DataFrame
        Of `tune_annotator` or `caller_selection.choose_callers`, on the same
        concepts.
    min_precision : float
        What the annotator was tuned for.
    """
    called = [
        "latent", "threshold", "min_length", "max_gap", "n_calls",
        "call_precision", "call_precision_low", "call_precision_high", *COUNT_COLUMNS,
    ]  # fmt: skip
    tuned = with_caller(annotator).filter(pl.col("abstains").is_null())
    tuned = tuned.select("concept", pl.lit(True).alias("tuned"), "caller", *called)
    reasons = annotator.select("concept", pl.col("abstains").cast(pl.String))
    concepts = with_caller(concepts)
    called = ["caller", *called]
    joined = concepts.with_columns(pl.col("latent").alias("f1_latent")).join(
        tuned, on="concept", how="left", suffix="_tuned", maintain_order="left"
    )
    joined = joined.join(reasons, on="concept", how="left", maintain_order="left").with_columns(
        pl.when(pl.col("abstains").is_not_null()).then(pl.lit(min_precision)).alias("abstains_at")
    )
    return joined.with_columns(
        pl.when(pl.col("tuned"))
        .then(pl.col(f"{name}_tuned").cast(concepts.schema[name]))
        .otherwise(pl.col(name))
        .alias(name)
        for name in called
    ).select(*concepts.columns, "f1_latent", "abstains", "abstains_at")


def measure_calls(concepts: pl.DataFrame, split: Split, scale_F: npt.ArrayLike) -> pl.DataFrame:
    """Make the calls of `concepts` on a split; add their precision and what they find.

    Parameters
    ----------
    concepts : polars.DataFrame
        One row for each concept of the labels, in their order, as ``call_spans`` takes them.
    split : Split
        Where to measure.
    scale_F : array_like, shape=(F,)
        The scale of each latent.
    """
    calls = call_all(split.latents, concepts, scale_F)
    matches = match_calls(calls, split.labels)
    cluster_K = None
    if split.clusters is not None:
        cluster_K = np.asarray(split.clusters)[calls["protein"].to_numpy()]
    n_concepts = split.labels.n_concepts
    precision = call_precision(matches.right_K, matches.concept_K, n_concepts, cluster_K)
    found = _mean(matches.instance_iou_I > 0, split.labels.concept_I, n_concepts)
    right = matches.right_K
    iou = _mean(matches.call_iou_K[right], matches.concept_K[right], n_concepts)
    return concepts.with_columns(
        *precision.get_columns(),
        pl.Series("missed_instances", matches.missed_C(split.labels)),
        pl.Series("instances_found", found).fill_nan(None),
        pl.Series("iou", iou).fill_nan(None),
    )


class _Best:
    """The best candidate of each concept so far."""

    def __init__(self, n_concepts: int) -> None:
        self._found = np.zeros(n_concepts)
        self._latent: list[int | None] = [None] * n_concepts
        self._rule: list[tuple[float, int, int, float]] = [(0.0, 1, 0, 0.0)] * n_concepts

    def offer(self, measured: pl.DataFrame, good: npt.NDArray[np.bool_]) -> None:
        """Take the rows that are good and find more than those before; of equals, the surer."""
        found = measured["instances_found"].fill_null(0).to_numpy()
        low = measured["call_precision_low"].fill_null(0).to_numpy()
        before = np.array([rule[3] for rule in self._rule])
        better = (found > self._found) | ((found == self._found) & (found > 0) & (low > before))
        rule = measured.select("threshold", "min_length", "max_gap", "call_precision_low")
        for c in np.flatnonzero(good & better):
            self._found[c] = found[c]
            self._latent[c] = measured["latent"][int(c)]
            self._rule[c] = rule.row(int(c))

    def frame(self, concepts: Sequence[str], kinds: Sequence[str]) -> pl.DataFrame:
        """Return the choice; nulls for a concept without one."""
        rule = pl.DataFrame(
            self._rule,
            schema={
                "threshold": pl.Float64,
                "min_length": pl.Int32,
                "max_gap": pl.Int32,
                "select_low": pl.Float64,
            },
            orient="row",
        )
        frame = pl.DataFrame(
            {"concept": list(concepts), "kind": list(kinds), "latent": self._latent},
            schema_overrides={"latent": pl.Int64},
        )
        known = pl.col("latent").is_not_null()
        columns = [pl.when(known).then(pl.col(name)).alias(name) for name in rule.columns]
        return pl.concat([frame, rule], how="horizontal").with_columns(columns)


def _columns(latents: Sequence[csr_array], used: Int64) -> list[csr_array]:
    return [csr_array(array[:, used]) for array in latents]


def _mean(values: npt.ArrayLike, group: Int64, n_groups: int) -> npt.NDArray[np.float64]:
    total = np.bincount(group, weights=np.asarray(values, dtype=np.float64), minlength=n_groups)
    count = np.bincount(group, minlength=n_groups)
    mean: npt.NDArray[np.float64] = np.divide(
        total, count, out=np.full(n_groups, np.nan), where=count > 0
    )
    return mean
