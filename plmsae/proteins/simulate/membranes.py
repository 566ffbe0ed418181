"""Bundles of transmembrane helices: sides that alternate, and the positive-inside rule."""

from __future__ import annotations

import numpy as np

from plmsae.proteins.simulate.motif import span
from plmsae.proteins.simulate.motifs import MOTIFS
from plmsae.proteins.simulate.segments import Segment, join, linker, planted

# How many helices proteins have: single anchors are common, then even numbers, then receptors.
_HELICES = (1, 1, 1, 2, 2, 4, 6, 7, 7, 8, 10, 12)
_HELIX_ROOM, _TAIL_ROOM = 23 + 12, 2 * 14
_TAIL, _LOOP = (6, 14), (6, 16)
_SIDES = {True: ("inside", "Cytoplasmic"), False: ("outside", "Extracellular")}


def draw_helices(room: int, rng: np.random.Generator) -> int:
    """Draw how many helices a bundle of at most `room` residues has; at least one."""
    most = max(1, (room - _TAIL_ROOM) // _HELIX_ROOM)
    return min(_HELICES[int(rng.integers(len(_HELICES)))], most)


def bundle(
    start: Segment, helices: int, last_inside: bool, rng: np.random.Generator
) -> tuple[Segment, Segment]:
    """Build a membrane protein up to its last transmembrane helix, and the tail behind that.

    Loops inside are rich in K and R and those outside are not (von Heijne, *EMBO Journal* 1986).

    Parameters
    ----------
    last_inside : bool
        Whether what follows the last helix lies in the cytoplasm.

    Returns
    -------
    segment : Segment
    tail : Segment
        To be closed with `behind`.
    """
    inside = last_inside == (helices % 2 == 0)
    pieces = [_side([start, _loop(inside, _TAIL, rng)], inside)]
    for helix in range(helices):
        pieces.append(planted(MOTIFS["transmembrane"], rng))
        inside = not inside
        if helix < helices - 1:
            pieces.append(_side([_loop(inside, _LOOP, rng)], inside))
    return join(pieces), _loop(inside, _TAIL, rng)


def behind(tail: Segment, body: Segment, inside: bool) -> Segment:
    """Return what follows the last helix: a tail that obeys the rule, then all other parts."""
    return _side([tail, body], inside)


def _loop(inside: bool, sizes: tuple[int, int], rng: np.random.Generator) -> Segment:
    return linker(int(rng.integers(sizes[0], sizes[1] + 1)), rng, kind=_SIDES[inside][0])


def _side(parts: list[Segment], inside: bool) -> Segment:
    mark = span("Topological domain", "TOPO_DOM", _SIDES[inside][1])
    whole = join(parts).covered("transmembrane", mark)
    return whole if inside else whole.exported()
