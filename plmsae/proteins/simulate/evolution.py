"""A family's tree, and evolution along it.

Substitutions are proposed by the matrix of `substitution` at each site's own rate and accepted by
the Metropolis rule against the site's profile f: a → b with probability min(1, φ(b)/φ(a)), where
φ = f/π. Proposals are reversible in the background π, so each site keeps exactly f as its
stationary distribution, and what a pattern forbids (f = 0) never happens: purifying selection, in
the spirit of Halpern and Bruno (*Molecular Biology and Evolution* 1998).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from plmsae.proteins.simulate.alphabet import BACKGROUND, Float, Ints, sample
from plmsae.proteins.simulate.segments import Segment
from plmsae.proteins.simulate.substitution import transition

# Rates are rounded to these, so that a branch needs a handful of matrices and not one a site.
_RATE_LEVELS = np.geomspace(0.02, 8.0, 12)
_INDEL_STOP = 0.4  # geometric lengths: 2.5 residues on average


@dataclass(frozen=True, slots=True)
class Tree:
    """A rooted binary tree; nodes are numbered so that a parent comes before its children.

    Attributes
    ----------
    parent : ndarray, shape (nodes,)
        -1 for the root, node 0.
    length : ndarray, shape (nodes,)
        Expected changes on the branch above the node.
    leaves : ndarray, shape (members,)
    """

    parent: NDArray[np.intp]
    length: Float
    leaves: NDArray[np.intp]

    def levels(self) -> list[NDArray[np.intp]]:
        """Nodes other than the root by their depth: each level needs only the one before it."""
        depth = np.zeros(len(self.parent), dtype=np.intp)
        for node in range(1, len(self.parent)):
            depth[node] = depth[self.parent[node]] + 1
        return [np.flatnonzero(depth == level) for level in range(1, int(depth.max()) + 1)]

    def clade(self, node: int) -> NDArray[np.intp]:
        """Return the indices into `leaves` of the leaves below `node`, itself included."""
        inside = np.zeros(len(self.parent), dtype=bool)
        inside[node] = True
        for other in range(node + 1, len(self.parent)):
            inside[other] = inside[self.parent[other]]
        return np.flatnonzero(inside[self.leaves])


def yule_tree(members: int, depth: float, rng: np.random.Generator) -> Tree:
    """Grow a tree by splitting random lineages (a Yule process), every leaf `depth` from the root.

    Parameters
    ----------
    members : int
        Leaves, at least 1.
    depth : float
        Expected changes a site from root to leaf.
    """
    parent, born, died = [-1], [0.0], [0.0]
    alive, now = [0], 0.0
    while len(alive) < members:
        split = alive.pop(int(rng.integers(len(alive))))
        died[split] = now
        for _ in range(2):
            alive.append(len(parent))
            parent.append(split)
            born.append(now)
            died.append(0.0)
        now += rng.exponential(1.0 / len(alive))
    if members == 1:
        parent, born, died, alive, now = [-1, 0], [0.0, 0.0], [0.0, 1.0], [1], 1.0
    for node in alive:
        died[node] = now
    length = (np.array(died) - np.array(born)) * (depth / now)
    return Tree(np.array(parent), length, np.array(alive))


@dataclass(frozen=True, slots=True)
class _Selection:
    """What every step along a tree needs to know of the sites."""

    level: NDArray[np.intp]
    log_fitness: Float
    """Shape (L, 20); -inf where a pattern forbids the residue."""


def _selection(segment: Segment) -> _Selection:
    level = np.abs(np.log(np.maximum(segment.rate, 1e-9))[:, None] - np.log(_RATE_LEVELS))
    with np.errstate(divide="ignore"):
        log_fitness = np.log(segment.profile / BACKGROUND)
    return _Selection(level.argmin(axis=1), log_fitness)


def _step(residues: Ints, lengths: Float, selection: _Selection, rng: np.random.Generator) -> Ints:
    """Evolve B sequences of L sites along branches of their own; (B, L), (B,) -> (B, L)."""
    cumulative = transition(lengths[:, None] * _RATE_LEVELS).cumsum(axis=-1)  # (B, K, 20, 20)
    branch = np.arange(len(lengths))[:, None]
    rows = cumulative[branch, selection.level, residues]  # (B, L, 20)
    proposed = (rows[..., :19] <= rng.random(residues.shape)[..., None]).sum(axis=-1)
    site = np.arange(residues.shape[1])
    gain = selection.log_fitness[site, proposed] - selection.log_fitness[site, residues]
    accepted = np.log1p(-rng.random(residues.shape)) < gain  # log of a draw from (0, 1]
    return np.where(accepted, proposed, residues).astype(np.int8)


def drift(segment: Segment, distance: float, rng: np.random.Generator) -> Segment:
    """Return the segment after `distance` expected changes a site, without indels."""
    moved = _step(segment.residues[None], np.array([distance]), _selection(segment), rng)
    return replace(segment, residues=moved[0])


def evolve(
    ancestor: Segment, tree: Tree, indel_rate: float, rng: np.random.Generator
) -> tuple[Ints, NDArray[np.bool_]]:
    """Evolve an ancestor to the leaves of a tree.

    Parameters
    ----------
    ancestor : Segment
        L columns; `rate` and `profile` say how each changes, `slack` where indels may fall.
    indel_rate : float
        Insertions and deletions a slack site for each expected change.

    Returns
    -------
    residues : ndarray, shape (members, L), dtype=int8
    present : ndarray, shape (members, L), dtype=bool
        Which columns hold a residue in each member.
    """
    selection = _selection(ancestor)
    nodes = len(tree.parent)
    residues = np.empty((nodes, len(ancestor)), dtype=np.int8)
    present = np.empty((nodes, len(ancestor)), dtype=bool)
    residues[0], present[0] = ancestor.residues, ancestor.present
    expected = indel_rate * ancestor.slack.sum()
    for level in tree.levels():
        above = tree.parent[level]
        residues[level] = _step(residues[above], tree.length[level], selection, rng)
        present[level] = present[above]
        events = rng.poisson(expected * tree.length[level])
        for node, count in zip(level, events, strict=True):
            for _ in range(count):
                _indel(ancestor, residues[node], present[node], rng)
    return residues[tree.leaves], present[tree.leaves]


def _indel(
    ancestor: Segment, residues: Ints, present: NDArray[np.bool_], rng: np.random.Generator
) -> None:
    """Insert or delete one stretch, in place, inside one run of like slack columns."""
    inserts = rng.random() < 0.5
    eligible = ancestor.slack & (present != inserts)
    choices = np.flatnonzero(eligible)
    if not len(choices):
        return
    start = int(choices[rng.integers(len(choices))])
    stretch = eligible[start : start + int(rng.geometric(_INDEL_STOP))]
    # argmin finds the first False; a stretch with none reaches its end.
    length = len(stretch) if stretch.all() else int(stretch.argmin())
    columns = slice(start, start + length)
    present[columns] = inserts
    if inserts:
        residues[columns] = sample(ancestor.profile[columns], rng)
