"""Members of a family: sequences at the leaves of its tree, and the motifs some have lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plmsae.proteins.simulate.alphabet import Ints, decode, sample
from plmsae.proteins.simulate.config import SimulateConfig
from plmsae.proteins.simulate.decoys import DECOYS
from plmsae.proteins.simulate.evolution import Tree, evolve, yule_tree
from plmsae.proteins.simulate.families import Ancestor, build_ancestor
from plmsae.proteins.simulate.motifs import MOTIFS
from plmsae.proteins.simulate.prosite import compile_pattern
from plmsae.proteins.simulate.segments import Planted
from plmsae.proteins.simulate.substitution import transition

_KEY_LETTERS = 3  # a place that accepts at most this many letters is one the motif stands on
_BROKEN_PLACES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One simulated family.

    Attributes
    ----------
    index : int
        Its number within the seed, 0-based.
    ancestor : Ancestor
    residues : ndarray, shape (members, L)
        Indices into `alphabet.ALPHABET`.
    present : ndarray, shape (members, L)
        Which columns hold a residue.
    kept : ndarray, shape (members, planted)
        Which planted motifs (`ancestor.segment.planted`) each member still has.
    sequences : tuple of str
        One a member.
    """

    index: int
    ancestor: Ancestor
    residues: Ints
    present: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    sequences: tuple[str, ...]


def build_family(config: SimulateConfig, world: int, index: int) -> Family:
    """Return family `index` of a seed; it depends on nothing but its arguments.

    Parameters
    ----------
    world : int
        `families.PROTEOME` or `families.STREAM`.
    """
    rng = np.random.default_rng([world, config.seed, index])
    ancestor = build_ancestor(config, world, index, rng)
    segment = ancestor.segment
    tree = yule_tree(config.proteins_per_family, config.divergence, rng)
    residues, present = evolve(segment, tree, config.indel_rate, rng)
    lengths = present.sum(axis=1)
    # A member that indels took out of bounds keeps its substitutions and loses its indels.
    present[(lengths < config.min_length) | (lengths > config.max_length)] = segment.present
    kept = np.ones((len(residues), len(segment.planted)), dtype=bool)
    for number, item in enumerate(segment.planted):
        if item.imitates:
            _hold_decoy(residues, segment.residues, item)
        elif _can_be_lost(item.name) and rng.random() < config.motif_loss:
            kept[:, number] = ~_lose(residues, ancestor, item, tree, rng)
    sequences = tuple(decode(row[here]) for row, here in zip(residues, present, strict=True))
    return Family(
        index=index,
        ancestor=ancestor,
        residues=residues,
        present=present,
        kept=kept,
        sequences=sequences,
    )


def _can_be_lost(name: str) -> bool:
    # Without its start a protein is none; sequons come and go by themselves.
    return name != "n_glycosylation" and not compile_pattern(MOTIFS[name].pattern).at_start


def _hold_decoy(residues: Ints, ancestral: Ints, item: Planted) -> None:
    """Undo, in place, what chance made of a decoy that now matches the motif it imitates."""
    regex = MOTIFS[DECOYS[item.name].imitates].regex
    columns = slice(item.start, item.end + 1)
    for row in residues:
        if regex.search(decode(row[columns])):
            row[columns] = ancestral[columns]


def _lose(
    residues: Ints, ancestor: Ancestor, item: Planted, tree: Tree, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Break a motif, in place, in the members below one branch; return which have lost it.

    Motifs without places to break (helices, biased stretches), and breaks that leave another match
    behind, are left as they are.
    """
    lost = np.zeros(len(residues), dtype=bool)
    columns = np.arange(item.start, item.end + 1)
    allowed = ancestor.segment.profile[columns] > 0
    keys = np.flatnonzero(allowed.sum(axis=1) <= _KEY_LETTERS)
    if len(keys) < _BROKEN_PLACES or len(tree.leaves) < 2:
        return lost
    clade = tree.clade(int(rng.integers(1, len(tree.parent))))
    places = rng.choice(keys, _BROKEN_PLACES, replace=False)
    old = ancestor.segment.residues[columns[places]]
    wrong = transition(np.array(1.0))[old] * ~allowed[places]
    broken = residues[clade]
    broken[:, columns[places]] = sample(wrong, rng)
    regex = MOTIFS[item.name].regex
    if any(regex.search(decode(row[columns])) for row in broken):
        return lost
    residues[clade] = broken
    lost[clade] = True
    return lost
