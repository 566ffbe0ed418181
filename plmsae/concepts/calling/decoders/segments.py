"""Spans as the most probable segments, by a semi-Markov model that knows how long spans are.

The model (a hidden semi-Markov model of two states, outside and inside: Rabiner, Proc. IEEE 77,
1989, section IV.D; Yu, Artif. Intell. 174, 2010): a protein is cut into stretches without and
segments with the concept. A segment of d residues scores

    sum of the log-odds of its residues + log P(d) - cost

where the log-odds of a residue, inside against outside, follow from its scaled activation
(`SegmentModel.log_odds`), P(d) is the labels' own distribution of lengths relative to its mode, and
the cost is what the evidence must exceed. Between two segments lie at least `gap` residues. The
segmentation with the highest total is found exactly by dynamic programming (Viterbi): so a long
stretch of activity over two helices and a loop becomes two calls if that is the likelier reading.

Segments of an *anchored* concept begin at the first residue.

The time is linear in residues, times at most `MAX_LENGTHS` lengths. Residues far from any that
fires cannot be in a segment, because an inactive residue is evidence against one. Only *windows*
around firing residues are looked at, those of all proteins at once. A window's outcome depends on
that window alone, never on the batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from plmsae.concepts.calling.decoders.activations import Activations, Spans
from plmsae.concepts.latents import Float32, Int64, expand
from plmsae.core.errors import InputError

MAX_LENGTHS = 48
"""Different lengths a model may allow; long spans are known to a few per cent of their length."""
_NEVER = -1e9

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SegmentModel:
    """What is stored of a segment decoder: a few numbers."""

    edges: tuple[float, ...]
    """Scaled activations at which the bins of activation begin, ascending; below the first of them
    a residue is silent."""
    log_odds: tuple[float, ...]
    """Natural log-odds of inside against outside: of silent residues, then of each bin. The first
    is negative."""
    lengths: tuple[int, ...]
    """Allowed lengths of a segment in residues, ascending."""
    log_lengths: tuple[float, ...]
    """Natural log of the probability of each length relative to the commonest; 0 or less."""
    cost: float
    """Log-odds that a segment must exceed to be worth cutting out; 0 or more."""
    min_evidence: float
    """Log-odds beyond the cost that a segment needs to become a call; 0 or more."""
    gap: int
    """Residues between two segments, at least."""
    anchored: bool
    """Whether segments begin at the first residue of the protein."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers."""
        return {
            "edges": list(self.edges),
            "log_odds": list(self.log_odds),
            "lengths": list(self.lengths),
            "log_lengths": list(self.log_lengths),
            "cost": self.cost,
            "min_evidence": self.min_evidence,
            "gap": self.gap,
            "anchored": self.anchored,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> SegmentModel:
        """Read what :meth:`to_dict` wrote.

        Raises
        ------
        InputError
            If a field is missing, of the wrong type, or breaks a rule.
        """
        edges, odds = stored.get("edges"), stored.get("log_odds")
        lengths, log_lengths = stored.get("lengths"), stored.get("log_lengths")
        cost, least = stored.get("cost"), stored.get("min_evidence")
        gap, anchored = stored.get("gap"), stored.get("anchored")
        good = (
            set(stored) == set(cls.__dataclass_fields__)
            and all(isinstance(part, list) for part in (edges, odds, lengths, log_lengths))
            and _numbers([*edges, *odds, *log_lengths, cost, least])  # type: ignore[misc]
            and len(odds) == len(edges) + 1 >= 2  # type: ignore[arg-type]
            and odds[0] < 0 <= edges[0]  # type: ignore[index]
            and all(a < b for a, b in itertools.pairwise(edges))  # type: ignore[arg-type]
            and all(type(n) is int and n >= 1 for n in lengths)  # type: ignore[union-attr]
            and 1 <= len(lengths) == len(log_lengths) <= MAX_LENGTHS  # type: ignore[arg-type]
            and all(a < b for a, b in itertools.pairwise(lengths))  # type: ignore[arg-type]
            and all(value <= 0 for value in log_lengths)  # type: ignore[union-attr]
            and cost >= 0 <= least  # type: ignore[operator]
            and type(gap) is int
            and gap >= 0
            and isinstance(anchored, bool)
        )
        if not good:
            raise InputError("this is no stored segment decoder")
        tuples = {
            name: tuple(stored[name]) for name in ("edges", "log_odds", "lengths", "log_lengths")
        }
        return cls(
            **tuples,
            cost=float(cost),  # type: ignore[arg-type]
            min_evidence=float(least),  # type: ignore[arg-type]
            gap=gap,  # type: ignore[arg-type]
            anchored=anchored,  # type: ignore[arg-type]
        )


def find_segments(activations: Activations, latent: int, model: SegmentModel) -> Spans:
    """Return the calls of one concept: its most probable segments, in the order of the rows.

    Parameters
    ----------
    activations : Activations
        Of the concept's latent, among others.

    Returns
    -------
    Spans
        All of pair 0. They lie at least ``model.gap`` residues apart, inside one protein, and have
        one of the model's lengths. Segments with too little evidence are left out.
    """
    spans, evidence = weigh_segments(activations, latent, model)
    keep = np.flatnonzero(evidence >= model.min_evidence) if model.min_evidence > 0 else slice(None)
    return Spans(
        pair_K=spans.pair_K[keep],
        first_K=spans.first_K[keep],
        end_K=spans.end_K[keep],
        score_K=spans.score_K[keep],
    )


def weigh_segments(
    activations: Activations, latent: int, model: SegmentModel
) -> tuple[Spans, Float64]:
    """Return all segments, whatever their evidence, and the evidence of each in nats."""
    row, value = activations.of(latent)
    odds = np.asarray(model.log_odds)[np.searchsorted(model.edges, value, side="left")]
    # Silent and nearly silent residues are the same to the model.
    fires = np.searchsorted(model.edges, value, side="left") > 0
    row, value, odds = row[fires], value[fires], odds[fires]
    if model.anchored:
        first, end = _prefixes(row, odds, activations.offsets_P1, model)
    else:
        first, end = _segments(row, odds, activations.offsets_P1, model)
    spans = Spans(
        pair_K=np.zeros(len(first), dtype=np.int64),
        first_K=first,
        end_K=end,
        score_K=_highest(row, value, first, end),
    )
    return spans, _evidence(row, odds, first, end, model)


def _evidence(row: Int64, odds: Float64, first: Int64, end: Int64, model: SegmentModel) -> Float64:
    """Return log-odds of the residues and of the length, less the cost, of each segment."""
    low, high = np.searchsorted(row, first), np.searchsorted(row, end)
    silent = model.log_odds[0]
    span = np.repeat(np.arange(len(first)), high - low)
    # Summed span by span, so that rounding does not depend on what else is in the batch.
    gain = np.bincount(span, weights=odds[expand(low, high)] - silent, minlength=len(first))
    length = end - first
    price = np.asarray(model.log_lengths)[np.searchsorted(model.lengths, length)]
    evidence: Float64 = gain + silent * length + price - model.cost
    return evidence


def _prefixes(
    row: Int64, odds: Float64, offsets: Int64, model: SegmentModel
) -> tuple[Int64, Int64]:
    """Return the best prefix of every protein that has one above the cost."""
    lengths = np.asarray(model.lengths)
    protein = np.searchsorted(offsets, row, side="right") - 1
    near = row - offsets[protein] < lengths[-1]
    row, odds, protein = row[near], odds[near], protein[near]
    which, place = np.unique(protein, return_inverse=True)
    odds_WT = np.full((len(which), lengths[-1]), model.log_odds[0])
    odds_WT[place, row - offsets[protein]] = odds
    total = np.cumsum(odds_WT, axis=1)[:, lengths - 1] + np.asarray(model.log_lengths) - model.cost
    total[lengths > (offsets[which + 1] - offsets[which])[:, None]] = _NEVER
    best = np.argmax(total, axis=1) if len(which) else np.zeros(0, dtype=np.int64)
    good = total[np.arange(len(which)), best] > 0
    first = offsets[which[good]]
    return first, first + lengths[best[good]]


def _segments(
    row: Int64, odds: Float64, offsets: Int64, model: SegmentModel
) -> tuple[Int64, Int64]:
    """Return first row and end of every segment."""
    begin, end = _windows(row, offsets, model)
    owner = np.searchsorted(begin, row, side="right") - 1
    found = []
    for members in _of_like_length(end - begin):
        size = (end - begin)[members]
        odds_TW = np.full((int(size.max()), len(members)), model.log_odds[0])
        odds_TW[np.arange(len(odds_TW))[:, None] >= size] = _NEVER
        column = np.full(len(begin), -1, dtype=np.int64)
        column[members] = np.arange(len(members))
        mine = column[owner] >= 0
        odds_TW[(row - begin[owner])[mine], column[owner][mine]] = odds[mine]
        window, first, last = _viterbi(odds_TW, model)
        found.append((begin[members][window] + first, begin[members][window] + last))
    if not found:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing
    first, last = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(first, kind="stable")
    return first[order], last[order]


def _windows(row: Int64, offsets: Int64, model: SegmentModel) -> tuple[Int64, Int64]:
    """Return the stretches outside of which no segment can lie, in order.

    A segment holds a firing residue, or it would score less than nothing.
    """
    reach = model.lengths[-1] - 1
    protein = np.searchsorted(offsets, row, side="right") - 1
    begin = np.maximum(row - reach, offsets[protein])
    end = np.minimum(row + reach + 1 + model.gap, offsets[protein + 1])
    if not len(row):
        return begin, end
    first = np.flatnonzero(np.concatenate([[True], begin[1:] >= end[:-1]]))
    last = np.append(first[1:], len(row)) - 1
    return begin[first], end[last]


def _of_like_length(size: Int64) -> Iterator[Int64]:
    """Group windows so that little is lost to padding: at most twice the longest of a group."""
    power = np.ceil(np.log2(np.maximum(size, 1))).astype(np.int64)
    for p in np.unique(power):
        yield np.flatnonzero(power == p)


def _viterbi(odds_TW: Float64, model: SegmentModel) -> tuple[Int64, Int64, Int64]:
    """Return window, first position and end of the segments of the best segmentation.

    ``free[t]`` is the best score of the first t residues with a segment allowed to begin at t;
    ``sums[t]`` the summed log-odds of the first t residues. A segment of d residues that ends at t
    brings ``free[t - d] + sums[t] - sums[t - d] + log P(d) - cost``.
    """
    lengths = np.asarray(model.lengths)
    log_lengths = np.asarray(model.log_lengths)[:, None] - model.cost
    n_times, n_windows = odds_TW.shape[0] + model.gap, odds_TW.shape[1]
    sums = np.zeros((n_times + 1, n_windows))
    np.cumsum(odds_TW, axis=0, out=sums[1 : len(odds_TW) + 1])
    rest = np.zeros((n_times + 1, n_windows))  # free - sums
    ends = np.full((n_times + 1, n_windows), _NEVER)
    length_at = np.zeros((n_times + 1, n_windows), dtype=np.int16)
    source = np.zeros((n_times + 1, n_windows), dtype=np.int32)
    free = np.zeros(n_windows)
    windows = np.arange(n_windows)
    for t in range(1, n_times + 1):
        allowed = int(np.searchsorted(lengths, t, side="right"))
        if allowed and t <= len(odds_TW):
            score = rest[t - lengths[:allowed]] + log_lengths[:allowed]
            best = np.argmax(score, axis=0)
            length_at[t] = best
            ends[t] = score[best, windows] + sums[t]
        closed = ends[max(t - model.gap, 0)]
        better = closed > free
        source[t] = np.where(better, t, source[t - 1])
        free = np.where(better, closed, free)
        rest[t] = free - sums[t]
    return _trace(source, length_at, lengths, model.gap)


def _trace(
    source: npt.NDArray[np.int32], length_at: npt.NDArray[np.int16], lengths: Int64, gap: int
) -> tuple[Int64, Int64, Int64]:
    """Walk back from the end of every window, all windows at once, a segment a step."""
    windows = np.arange(source.shape[1])
    at = source[-1].astype(np.int64)
    found = []
    while (alive := at > 0).any():
        windows, at = windows[alive], at[alive]
        end = at - gap
        first = end - lengths[length_at[end, windows]]
        found.append((windows, first, end))
        at = source[first, windows].astype(np.int64)
    if not found:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, nothing
    window, begin, stop = (np.concatenate(part) for part in zip(*found, strict=True))
    return window, begin, stop


def _highest(row: Int64, value: Float32, first: Int64, end: Int64) -> Float32:
    """Return the highest value within each span, at most 1."""
    low, high = np.searchsorted(row, first), np.searchsorted(row, end)
    best = np.zeros(len(first), dtype=np.float32)
    some = high > low
    span = np.repeat(np.arange(int(some.sum())), (high - low)[some])
    top = np.zeros(int(some.sum()), dtype=np.float32)
    np.maximum.at(top, span, value[expand(low[some], high[some])])
    best[some] = np.minimum(top, np.float32(1))
    return best


def _numbers(values: list[Any]) -> bool:
    return all(
        isinstance(v, int | float) and not isinstance(v, bool) and np.isfinite(v) for v in values
    )
