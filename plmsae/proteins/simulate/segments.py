"""Stretches of an ancestor: residues, what selection lets become of them, and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from plmsae.proteins.simulate.alphabet import BACKGROUND, Float, Ints, class_profile, sample
from plmsae.proteins.simulate.motif import Mark, Motif, Qualifiers
from plmsae.proteins.simulate.prosite import Pattern, compile_pattern

# Relative speed of change: linkers run, cores and motifs crawl.
RATES = {
    "any": 1.0,
    "helix_core": 0.5,
    "helix_surface": 1.0,
    "strand_core": 0.45,
    "strand_surface": 0.9,
    "turn": 1.2,
    "loop": 1.5,
    "disordered": 1.8,
    "inside": 1.3,
    "outside": 1.3,
}
_DECOY_RATE, _CONTEXT_RATE, _WILD_RATE = 0.35, 0.6, 1.0
_WILD_LETTERS = 16  # a place that accepts so many is wild: its surroundings decide
_CONSENSUS_SHARE, _CONTEXT_SHARE = 0.85, 0.85
_INSERT_EVERY, _INSERT_ROOM = 12, 5


@dataclass(frozen=True, slots=True)
class Label:
    """A feature on columns of a family: 0-based, both ends included."""

    source: str
    """Motif, domain or ``structure``: what the feature comes from, and is hidden with."""
    column: str
    key: str
    start: int
    end: int
    qualifiers: Qualifiers = ()
    numbered: bool = False
    planted: int = -1
    """Index of the planted motif in its segment; -1 where there is none."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A motif or a decoy on columns of a family: 0-based, both ends included."""

    name: str
    start: int
    end: int
    imitates: str = ""
    """For a decoy, the motif it looks like."""


@dataclass(kw_only=True)
class Segment:
    """Columns of a family; every array has one row per column.

    Columns that are not `present` hold no residue in the ancestor: room for insertions.
    """

    residues: Ints
    profile: Float
    """Shape (L, 20): the distribution selection holds each site to; 0 where a pattern forbids."""
    rate: Float
    slack: NDArray[np.bool_]
    """Where insertions and deletions are tolerated."""
    present: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    """Whether the residue lies outside the cell, where sequons are glycosylated."""
    labels: list[Label] = field(default_factory=list)
    planted: list[Planted] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.residues)

    @property
    def n_present(self) -> int:
        """Residues of the ancestor."""
        return int(self.present.sum())

    def exported(self) -> Segment:
        """Return the same stretch outside the cell."""
        return replace(self, outside=np.ones(len(self), dtype=bool))

    def covered(self, source: str, mark: Mark) -> Segment:
        """Return the same stretch with `mark` over all of it."""
        return replace(self, labels=[*self.labels, _label(source, mark, 0, len(self), -1)])


def _segment(profile: Float, rate: Float, slack: bool, rng: np.random.Generator) -> Segment:
    length = len(profile)
    return Segment(
        residues=sample(profile, rng),
        profile=profile,
        rate=rate,
        slack=np.full(length, slack),
        present=np.ones(length, dtype=bool),
        outside=np.zeros(length, dtype=bool),
    )


def join(parts: Sequence[Segment]) -> Segment:
    """Put stretches end to end; labels and planted motifs move along."""
    labels: list[Label] = []
    planted: list[Planted] = []
    offset = 0
    for part in parts:
        labels += [
            replace(
                label,
                start=label.start + offset,
                end=label.end + offset,
                planted=-1 if label.planted < 0 else label.planted + len(planted),
            )
            for label in part.labels
        ]
        planted += [
            replace(item, start=item.start + offset, end=item.end + offset) for item in part.planted
        ]
        offset += len(part)
    return Segment(
        residues=np.concatenate([part.residues for part in parts]),
        profile=np.concatenate([part.profile for part in parts]),
        rate=np.concatenate([part.rate for part in parts]),
        slack=np.concatenate([part.slack for part in parts]),
        present=np.concatenate([part.present for part in parts]),
        outside=np.concatenate([part.outside for part in parts]),
        labels=labels,
        planted=planted,
    )


def linker(length: int, rng: np.random.Generator, *, kind: str = "disordered") -> Segment:
    """Return `length` residues of one kind of site, with room for insertions here and there."""
    room = (length - 4) // _INSERT_EVERY + 1 if length >= 6 else 0
    total = length + room * _INSERT_ROOM
    segment = _segment(
        np.tile(class_profile(kind), (total, 1)), np.full(total, RATES[kind]), True, rng
    )
    for place in range(room):
        first = 3 + place * (_INSERT_EVERY + _INSERT_ROOM)
        segment.present[first : first + _INSERT_ROOM] = False
    # The ends stay, so that what lies beside a linker never touches.
    segment.slack[[0, -1]] = False
    return segment


def scaffold(length: int, rng: np.random.Generator, *, strands: float = 0.5) -> Segment:
    """Return a folded stretch: helices and strands with a buried face, joined by turns.

    Parameters
    ----------
    length : int
        Residues; the last element is cut to fit.
    strands : float
        Chance that an element is a strand and not a helix.
    """
    kinds: list[str] = []
    elements: list[tuple[str, int, int]] = []
    while len(kinds) < length:
        kinds += ["turn" if rng.random() < 0.5 else "loop"] * int(rng.integers(2, 6))
        start = len(kinds)
        if rng.random() < strands:
            size, face = int(rng.integers(5, 9)), int(rng.integers(2))
            kinds += ["strand_core" if i % 2 == face else "strand_surface" for i in range(size)]
            elements.append(("STRAND", start, start + size))
        else:
            size, face = int(rng.integers(9, 18)), int(rng.integers(7))
            # 3.6 residues per turn: places a, d, e of the heptad face the core.
            kinds += [
                "helix_core" if (i + face) % 7 in (0, 3, 4) else "helix_surface"
                for i in range(size)
            ]
            elements.append(("HELIX", start, start + size))
    kinds = kinds[:length]
    segment = _segment(
        np.stack([class_profile(kind) for kind in kinds]),
        np.array([RATES[kind] for kind in kinds]),
        False,
        rng,
    )
    segment.slack[:] = [kind in ("turn", "loop") for kind in kinds]
    segment.slack[[0, -1]] = False
    segment.labels = [
        Label("structure", "Helix" if key == "HELIX" else "Beta strand", key, start, end - 1)
        for key, start, end in elements
        if end <= length
    ]
    return segment


def planted(motif: Motif, rng: np.random.Generator) -> Segment:
    """Return a motif in its surroundings, with its labels."""
    before = _context(motif.before, motif.wild, rng)
    after = _context(motif.after, motif.wild, rng)
    times = int(rng.integers(motif.repeat[0], motif.repeat[1] + 1))
    core = join(
        [
            pattern_segment(motif.pattern, motif.consensus, motif.wild, rng, rate=motif.rate)
            for _ in range(times)
        ]
    )
    start, end = len(before), len(before) + len(core)
    whole = join([before, core, after])
    whole.planted = [Planted(motif.name, start, end - 1)]
    whole.labels = [
        _label(motif.name, mark, *((0, len(whole)) if mark.context else (start, end)), 0)
        for mark in motif.marks
    ]
    return whole


def _label(source: str, mark: Mark, start: int, end: int, index: int) -> Label:
    def place(position: int) -> int:
        return start + position - 1 if position > 0 else end + position

    return Label(
        source, mark.column, mark.key, place(mark.first), place(mark.last), mark.qualifiers,
        mark.numbered, index,
    )  # fmt: skip


def pattern_segment(
    pattern: str, consensus: str, wild: str, rng: np.random.Generator, *, rate: float = _DECOY_RATE
) -> Segment:
    """Return a stretch that `pattern` accepts, and that selection will keep so."""
    compiled = compile_pattern(pattern)
    layout = compiled.layout(rng)
    rates = np.where(_wild(compiled), max(rate, _WILD_RATE), rate)
    profile = pattern_profile(compiled, consensus, wild)
    return _segment(profile[layout], rates[layout], False, rng)


def _wild(pattern: Pattern) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = pattern.masks.sum(axis=1) >= _WILD_LETTERS
    return result


def pattern_profile(pattern: Pattern, consensus: str, wild: str) -> Float:
    """Return the distribution of each unit of a pattern; shape (units, 20), 0 where forbidden.

    The consensus has 85 % of the weight, the rest of what the pattern accepts the other 15 %.
    """
    taste: Float = np.where(_wild(pattern)[:, None], class_profile(wild), BACKGROUND)
    weights = _normal(taste * pattern.masks)
    if consensus:
        narrow = _normal(weights * compile_pattern(consensus).masks)
        weights = _CONSENSUS_SHARE * narrow + (1 - _CONSENSUS_SHARE) * weights
    return weights


def _context(text: str, wild: str, rng: np.random.Generator) -> Segment:
    if not text:
        return _segment(np.empty((0, 20)), np.empty(0), False, rng)
    pattern = compile_pattern(text)
    listed = pattern_profile(pattern, "", wild)
    soft = _CONTEXT_SHARE * listed + (1 - _CONTEXT_SHARE) * class_profile(wild)
    rows = soft[pattern.layout(rng)]
    return _segment(rows, np.full(len(rows), _CONTEXT_RATE), False, rng)


def _normal(weights: Float) -> Float:
    result: Float = weights / weights.sum(axis=1, keepdims=True)
    return result
