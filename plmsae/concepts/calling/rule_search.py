"""How a concept is called: which latent, which decoder, which threshold; searched on one split.

For each concept a few latents (or a probe) are tried with every way to make spans of them:

- **runs** over a ladder of thresholds, plain and with a seed threshold of twice the first
  (`decoders.runs`);
- **segments** of a semi-Markov model fitted to the labels (`decoders.segments`), with a low and a
  high cost of a segment and a ladder of evidence. The model is fitted on half of the families and
  measured on the other half, in turn (cross-validation), as it has dozens of parameters.

Sites have one way, a threshold. Anchored concepts, whose labels start at the N-terminus, are called
by anchored segments only, unless they are too rare to fit any.

Every way is measured by the rule of `calling.matching`. **Degenerate** ways are passed over:
a threshold of 0 for spans, which means "wherever the latent is active at all"; calls that cover
whole proteins where the labels do not; calls that overlap labels so badly that no right call could
(`MIN_IOU`). Of the others, the best by :class:`Best` is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.concepts.association.evidence import Split
from plmsae.concepts.calling.calls import CALL_SCHEMA, as_frame, decode
from plmsae.concepts.calling.decoders.activations import (
    BY_RUNS,
    BY_SEGMENTS,
    Activations,
    gather_activations,
)
from plmsae.concepts.calling.decoders.fitting import (
    COSTS,
    MIN_INSTANCES,
    fit_segments,
    is_anchored,
    support_threshold,
)
from plmsae.concepts.calling.decoders.segments import SegmentModel, weigh_segments
from plmsae.concepts.calling.measuring import MIN_IOU, WHOLE_EXCESS, label_shares, measure
from plmsae.concepts.calling.span_rules import with_span_rule
from plmsae.concepts.labels.residue_labels import ResidueLabels
from plmsae.concepts.latents import Int64

LADDER = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SEEDS = (1.0, 2.0)
"""Seed thresholds to try, as multiples of the threshold; 1 is no seed."""
SEGMENT_CANDIDATES = 2
"""Latents of a concept, best first, for which a segment decoder is tried."""
EVIDENCE_QUANTILES = (0.0, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9)
"""Of the evidence of a concept's segments: minimums to try."""

RULE_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "concept": pl.String,
    "kind": pl.String,
    "call_latent": pl.Int64,
    "decoder": pl.String,
    "call_threshold": pl.Float64,
    "seed_threshold": pl.Float64,
    "min_length": pl.Int32,
    "max_gap": pl.Int32,
}
"""Columns of a rule, as `calls.call_spans` takes them."""

Good = Callable[[pl.DataFrame], npt.NDArray[np.bool_]]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The best way to call each concept."""

    frame: pl.DataFrame
    """One row per concept, in the order of the labels: `RULE_SCHEMA`, then ``good`` (whether it is
    as precise as was asked for) and ``select_low``, ``select_f1`` on the split searched. All null
    for a concept without a way."""
    segments: dict[str, SegmentModel] = field(default_factory=dict)
    """Fitted on the whole split, of the concepts whose decoder is ``segments``."""


def search_rules(
    candidates_CR: npt.ArrayLike,
    split: Split,
    max_activation_F: npt.ArrayLike,
    *,
    good: Good,
    thresholds: Sequence[float] = LADDER,
) -> Rules:
    """Find the best way to call each concept.

    Parameters
    ----------
    candidates_CR : array_like of int, shape=(C, R)
        Latents to try for each concept of the labels, best first; -1 for none.
    split : Split
        Where to search; with clusters, cross-validation keeps families together.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent.
    good : callable
        Takes what `measuring.measure` returns, and tells which rows are precise enough.
    thresholds : sequence of float
        Shares of the latent's maximum to try.
    """
    candidates = np.asarray(candidates_CR, dtype=np.int64)
    labels = split.labels
    used, place = np.unique(np.maximum(candidates, 0), return_inverse=True)
    place = np.where(candidates < 0, -1, place.reshape(candidates.shape))
    activations = gather_activations(split.latents, used, max_activation_F)
    shares = label_shares(labels)
    anchored = np.array([is_anchored(labels, c) for c in range(labels.n_concepts)], dtype=bool)
    halves = _halves(split)
    anchored &= labels.is_span_C
    for half in halves:
        anchored &= half.labels.instances_C() >= MIN_INSTANCES
    base = with_span_rule(
        pl.DataFrame({"concept": list(labels.concepts), "kind": labels.kinds}), labels
    )
    best = Best(labels.n_concepts)
    for rank in range(candidates.shape[1]):
        rows = base.with_columns(pl.Series("call_latent", place[:, rank]))
        for trial in _run_trials(rows, thresholds):
            usable = (place[:, rank] >= 0) & ~anchored
            seeded = (trial["seed_threshold"] > 0).to_numpy()
            usable &= np.where(labels.is_span_C, (trial["call_threshold"] > 0).to_numpy(), ~seeded)
            some = trial.filter(pl.Series(usable))
            calls = decode(activations, some, some["call_latent"].to_numpy(), {})
            best.offer(trial, measure(trial, calls, split), shares, good, usable)
        if rank < SEGMENT_CANDIDATES:
            for trial, calls in _segment_trials(rows, activations, split, halves):
                usable = (place[:, rank] >= 0) & labels.is_span_C
                usable &= (trial["decoder"] == BY_SEGMENTS).to_numpy()
                best.offer(trial, measure(trial, calls, split), shares, good, usable)
    frame, segments = _refit(best.frame(base), activations, split)
    latent = pl.Series("call_latent", used).gather(frame["call_latent"].fill_null(0))
    frame = frame.with_columns(
        pl.when(pl.col("call_latent").is_not_null()).then(latent).alias("call_latent")
    )
    return Rules(frame=frame, segments=segments)


class Best:
    """The best way of each concept so far.

    A way that is precise enough beats one that is not. Of two that are, the one that finds more
    instances is kept (of equals, the one with the higher bound of its precision); of two that are
    not, the one with the higher F1 of spans.
    """

    def __init__(self, n_concepts: int) -> None:
        self._rank = np.full((n_concepts, 3), -1.0)
        self._rows: list[tuple[object, ...] | None] = [None] * n_concepts

    def offer(
        self,
        trial: pl.DataFrame,
        measured: pl.DataFrame,
        shares: pl.DataFrame,
        good: Good,
        usable: Bool,
    ) -> None:
        """Take the rows that are better than those before."""
        precise = good(measured)
        low = measured["call_precision_low"].fill_null(0).to_numpy()
        found = measured["instances_found"].fill_null(0).to_numpy()
        f1 = measured["span_f1"].fill_null(0).to_numpy()
        rank = np.column_stack([precise, np.where(precise, found, f1), low]).astype(np.float64)
        usable = usable & (f1 > 0) & ~_degenerate(measured, shares)
        better = np.zeros(len(rank), dtype=bool)
        for column in (2, 1, 0):
            gain = rank[:, column] - self._rank[:, column]
            better = (gain > 0) | ((gain == 0) & better)
        kept = trial.select([name for name in _KEPT if name in trial.columns])
        for c in np.flatnonzero(usable & better):
            self._rank[c] = rank[c]
            row = kept.row(int(c), named=True)
            self._rows[c] = (*(row.get(n) for n in _KEPT), bool(precise[c]), low[c], f1[c])

    def frame(self, base: pl.DataFrame) -> pl.DataFrame:
        """Return the choice; nulls for a concept without one."""
        schema: dict[str, pl.DataType | type[pl.DataType]] = {
            **{name: RULE_SCHEMA.get(name, pl.Float64) for name in _KEPT},
            "good": pl.Boolean, "select_low": pl.Float64, "select_f1": pl.Float64,
        }  # fmt: skip
        rows = [row or (None,) * len(schema) for row in self._rows]
        found = pl.DataFrame(rows, schema=schema, orient="row")
        return pl.concat([base.select("concept", "kind"), found], how="horizontal")


_KEPT = (*(n for n in RULE_SCHEMA if n not in ("concept", "kind")), "cost", "min_evidence")


def _degenerate(measured: pl.DataFrame, shares: pl.DataFrame) -> Bool:
    """Tell which ways call whole proteins, or overlap labels so badly that no call is right."""
    is_span = (measured["kind"] == "span").to_numpy()
    whole = measured["whole_share"].fill_null(0).to_numpy()
    too_whole = whole > shares["label_whole_share"].to_numpy() + WHOLE_EXCESS
    bad = measured["touch_iou"].fill_null(1).to_numpy() < MIN_IOU
    found: Bool = is_span & (too_whole | bad)
    return found


def _run_trials(rows: pl.DataFrame, thresholds: Sequence[float]) -> Iterator[pl.DataFrame]:
    for threshold in thresholds:
        for seed in SEEDS:
            if seed > 1 and (threshold <= 0 or seed * threshold >= 1):
                continue
            yield rows.with_columns(
                pl.lit(BY_RUNS).alias("decoder"),
                pl.lit(float(threshold)).alias("call_threshold"),
                pl.lit(0.0 if seed == 1 else seed * threshold).alias("seed_threshold"),
            )


def _segment_trials(
    rows: pl.DataFrame, activations: Activations, split: Split, halves: Sequence[_Half]
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield rules and their calls, made by models of the other half of the families."""
    is_span = (rows["kind"] == "span").to_numpy() & (rows["call_latent"] >= 0).to_numpy()
    latent = rows["call_latent"].to_list()
    fitted: dict[int, list[SegmentModel]] = {}
    for c in np.flatnonzero(is_span).tolist():
        tried = [fit_segments(half.of(activations, latent[c]), 0, half.labels, c)
                  for half in halves]  # fmt: skip
        whole = [model for model in tried if model is not None]
        if len(whole) == len(halves):
            fitted[c] = whole
    if not fitted:
        return
    decoder = pl.Series([BY_SEGMENTS if c in fitted else BY_RUNS for c in range(rows.height)])
    for cost in COSTS:
        parts = []
        for c, models in fitted.items():
            for half, other in zip(halves, reversed(models), strict=True):
                mine = half.within(activations, latent[c])
                spans, evidence = weigh_segments(mine, 0, replace(other, cost=cost))
                calls = as_frame(spans, rows, np.array([c]), activations.offsets_P1)
                parts.append(calls.with_columns(evidence=evidence))
        calls = pl.concat(parts)
        for quantile in EVIDENCE_QUANTILES:
            least = calls.group_by("concept").agg(
                pl.col("evidence").quantile(quantile).alias("min_evidence")
            )
            least = least.with_columns(pl.col("min_evidence").clip(0.0) * float(quantile > 0))
            trial = rows.join(least, on="concept", how="left", maintain_order="left").with_columns(
                decoder.alias("decoder"),
                pl.lit(0.0).alias("call_threshold"),
                pl.lit(0.0).alias("seed_threshold"),
                pl.lit(cost).alias("cost"),
                pl.col("min_evidence").fill_null(0.0),
            )
            kept = calls.join(least, on="concept", how="left", maintain_order="left")
            kept = kept.filter(pl.col("evidence") >= pl.col("min_evidence"))
            yield trial, kept.select(list(CALL_SCHEMA))


@dataclass(frozen=True, kw_only=True)
class _Half:
    """Half of the proteins of a split, under one another."""

    inside_P: Bool
    """Which proteins of the split are in it."""
    labels: ResidueLabels
    shift_P: Int64
    """What turns a row of the split into a row of the half."""

    def of(self, activations: Activations, latent: int) -> Activations:
        """Return one latent on the proteins of the half."""
        mine = self.within(activations, latent)
        protein = np.searchsorted(activations.offsets_P1, mine.row_A, side="right") - 1
        return replace(
            mine, row_A=mine.row_A + self.shift_P[protein], offsets_P1=self.labels.offsets_P1
        )

    def within(self, activations: Activations, latent: int) -> Activations:
        """Return one latent on the proteins of the half, silent on the others of the split."""
        row, value = activations.of(latent)
        protein = np.searchsorted(activations.offsets_P1, row, side="right") - 1
        mine = self.inside_P[protein]
        return Activations(
            indptr_U1=np.array([0, int(mine.sum())]),
            row_A=row[mine],
            value_A=value[mine],
            offsets_P1=activations.offsets_P1,
        )


def _halves(split: Split) -> list[_Half]:
    """Cut the proteins in two, families together."""
    n = len(split.latents)
    cluster = np.arange(n) if split.clusters is None else np.asarray(split.clusters)
    names, member = np.unique(cluster, return_inverse=True)
    first = np.random.default_rng(0).permutation(len(names))[: (len(names) + 1) // 2]
    halves = []
    for inside in (np.isin(member, first), ~np.isin(member, first)):
        index = np.flatnonzero(inside)
        labels = split.labels.take(index)
        shift = np.zeros(n, dtype=np.int64)
        shift[index] = labels.offsets_P1[:-1] - split.labels.offsets_P1[:-1][index]
        halves.append(_Half(inside_P=inside, labels=labels, shift_P=shift))
    return halves


def _refit(
    frame: pl.DataFrame, activations: Activations, split: Split
) -> tuple[pl.DataFrame, dict[str, SegmentModel]]:
    """Fit the chosen segment decoders on the whole split; a threshold says where they fire."""
    segments: dict[str, SegmentModel] = {}
    threshold = frame["call_threshold"].to_list()
    for c, row in enumerate(frame.iter_rows(named=True)):
        if row["decoder"] != BY_SEGMENTS:
            continue
        model = fit_segments(activations, int(row["call_latent"]), split.labels, c)
        support = None if model is None else support_threshold(model)
        threshold[c] = support
        if model is not None and support is not None:
            segments[row["concept"]] = replace(
                model, cost=row["cost"], min_evidence=row["min_evidence"]
            )
    frame = frame.with_columns(pl.Series("call_threshold", threshold, dtype=pl.Float64))
    lost = pl.col("call_threshold").is_null()
    rule = [name for name in frame.columns if name not in ("concept", "kind")]
    frame = frame.with_columns(pl.when(~lost).then(pl.col(rule)))
    return frame.drop("cost", "min_evidence"), segments
