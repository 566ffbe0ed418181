"""Which proteins a description is written from, and which are held back to test it.

The sampling follows InterPLM (Simon and Zou 2025): some proteins of every tenth of the activation
range, more at the top, and some on which the feature is silent. Two things differ. No homology
cluster gives proteins to both sides, so that a description cannot be right by having seen a
relative; and each side also gets hard negatives, close relatives of its active proteins on which
the feature does not fire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from plmsae.concepts.features.patterns import ACTIVE
from plmsae.proteins.hits import Hits

N_LEVELS = 10
"""Activation levels are tenths of the maximum; the last one includes the maximum itself."""
TOP, LOWER, SILENT, RELATIVES = 10, 2, 10, 5
"""Proteins of each side: of the top level, of each lower level, silent ones, hard negatives."""
STRONG = 0.5
"""From this share of its maximum on a feature fires strongly."""
MIN_HELD_OUT = 5
"""With fewer active proteins to test on, nothing is held back."""

Families = Literal["other", "same"]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Homology:
    """Which proteins of a set are related."""

    clusters: Sequence[int]
    """Number of the homology cluster of each protein."""
    relatives: Mapping[int, Sequence[int]]
    """Homologous proteins of each protein, the most similar first; none where not listed."""

    @classmethod
    def unrelated(cls, n: int) -> Homology:
        """Take every one of `n` proteins as a cluster of its own."""
        return cls(clusters=range(n), relatives={})

    @classmethod
    def of_hits(cls, clusters: Sequence[int], hits: Hits) -> Homology:
        """Join clusters with the hits among the same proteins, the best score first."""
        relatives: dict[int, list[int]] = {}
        order = np.lexsort((hits.target, hits.query, -hits.score))
        for a, b in zip(hits.query[order].tolist(), hits.target[order].tolist(), strict=True):
            for one, other in ((a, b), (b, a)):
                if other not in relatives.setdefault(one, []):
                    relatives[one].append(other)
        return cls(clusters=clusters, relatives=relatives)


@dataclass(frozen=True, kw_only=True)
class Side:
    """Proteins by index, of one side: those shown, or those held back."""

    active: tuple[int, ...]
    """On which the feature fires, strongest first."""
    silent: tuple[int, ...]
    """On which it is 0 everywhere."""
    relatives: tuple[int, ...]
    """Hard negatives: relatives of strongly active ones, all residues under the active level."""


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The two sides of one feature."""

    shown: Side
    """From which a description is written."""
    held_out: Side | None
    """On which it is tested; None where too few proteins are active."""
    families: Families
    """``other``: the two sides share no homology cluster. ``same``: all active proteins are
    relatives, so that only proteins could be kept apart, and the test is easier."""


def levels_of(scaled: npt.NDArray[np.float32]) -> Ints:
    """Return the level, 0 to 9, of scaled activations in [0, 1]; 1.0 belongs to the last."""
    # In float32, where 0.7 times 10 is 7; of the same 0.7 float64 makes 6.9999999.
    levels: Ints = np.minimum(scaled * np.float32(N_LEVELS), N_LEVELS - 1).astype(np.int64)
    return levels


def strongest_first(maxima: npt.NDArray[np.float32]) -> Ints:
    """Return the proteins above 0, the highest first; equals in their order."""
    order: Ints = np.argsort(-maxima, kind="stable")
    return order[: np.count_nonzero(maxima)]


def choose_sides(maxima: npt.NDArray[np.float32], homology: Homology, *, seed: int) -> Sides:
    """Choose the proteins to show and those to hold back.

    Parameters
    ----------
    maxima : ndarray of float32, shape (P,)
        Largest scaled activation in each protein, in [0, 1].
    homology : Homology
        Of the same proteins.
    seed : int
        Of the choice of silent proteins.

    Returns
    -------
    Sides
        Each side has at most one active protein of a cluster on every level.
    """
    clusters = np.asarray(homology.clusters, dtype=np.int64)
    shown, held_out = _two_sides(maxima, clusters, homology, seed)
    if len(held_out.active) >= MIN_HELD_OUT:
        return Sides(shown=shown, held_out=held_out, families="other")
    alone = np.arange(len(maxima))
    shown, held_out = _two_sides(maxima, alone, homology, seed)
    if len(held_out.active) >= MIN_HELD_OUT:
        return Sides(shown=shown, held_out=held_out, families="same")
    only, _ = _two_sides(maxima, alone, homology, seed, n_sides=1)
    return Sides(shown=only, held_out=None, families="same")


def _two_sides(
    maxima: npt.NDArray[np.float32],
    groups: Ints,
    homology: Homology,
    seed: int,
    *,
    n_sides: int = 2,
) -> tuple[Side, Side]:
    side_of: dict[int, int] = {}  # a group stays on the side it was first put on
    order = strongest_first(maxima)
    levels = levels_of(maxima)[order]
    active: tuple[list[int], list[int]] = ([], [])
    for level in reversed(range(N_LEVELS)):
        quota = TOP if level == N_LEVELS - 1 else LOWER
        here = order[levels == level].tolist()
        for side, proteins in enumerate(_deal(here, groups, side_of, quota, n_sides)):
            active[side].extend(proteins)
    zeros = np.flatnonzero(maxima == 0)
    shuffled = np.random.default_rng(seed).permutation(zeros).tolist()
    silent = _deal(shuffled, groups, side_of, SILENT, n_sides)
    relatives: tuple[list[int], list[int]] = ([], [])
    taken = set(silent[0]) | set(silent[1])
    for side in range(n_sides):
        for protein in active[side]:
            if maxima[protein] < STRONG:
                break
            for other in homology.relatives.get(protein, ()):
                free = maxima[other] < ACTIVE and other not in taken
                if free and side_of.get(int(groups[other]), side) == side:
                    side_of[int(groups[other])] = side
                    taken.add(other)
                    relatives[side].append(other)
                    break
    return tuple(
        Side(
            active=tuple(active[side]),
            silent=tuple(silent[side]),
            relatives=tuple(relatives[side][:RELATIVES]),
        )
        for side in (0, 1)
    )  # type: ignore[return-value]  # a tuple of two by construction


def _deal(
    proteins: Sequence[int], groups: Ints, side_of: dict[int, int], quota: int, n_sides: int
) -> tuple[list[int], list[int]]:
    """Deal proteins to the sides in turn, at most `quota` to each and one of a group."""
    dealt: tuple[list[int], list[int]] = ([], [])
    used: set[int] = set()
    for protein in proteins:
        group = int(groups[protein])
        open_sides = [side for side in range(n_sides) if len(dealt[side]) < quota]
        if not open_sides:
            break
        if group in used:
            continue
        # The first protein is shown: readers want to see the strongest.
        side = side_of.get(group, min(open_sides, key=lambda s: len(dealt[s])))
        if side in open_sides:
            side_of[group] = side
            used.add(group)
            dealt[side].append(protein)
    return dealt
