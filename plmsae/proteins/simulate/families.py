"""Ancestors: what each family is built around, where it lives, and how it is put together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from plmsae.proteins.simulate.config import SimulateConfig
from plmsae.proteins.simulate.decoys import DECOYS, decoy_segment
from plmsae.proteins.simulate.domains import family_copy, library
from plmsae.proteins.simulate.membranes import behind, bundle, draw_helices
from plmsae.proteins.simulate.modules import MODULES, PLACES, Module
from plmsae.proteins.simulate.motifs import MOTIFS
from plmsae.proteins.simulate.segments import (
    Segment,
    join,
    linker,
    pattern_segment,
    planted,
    scaffold,
)

PROTEOME, STREAM, DECK = 1, 2, 3
"""First word of every generator's seed: families of a proteome and of a stream never coincide."""

_MEDIAN_LENGTH, _LENGTH_SPREAD = 270, 0.45
_MIN_LINKER, _MIN_FOLD = 6, 24
_LONGEST_ANCHOR = 230  # what any module fits into when room is short
_DOMAIN_CHANCE, _MODULE_CHANCE = 0.55, 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """The root of one family.

    Attributes
    ----------
    anchor : str
        The module the family was built around (`modules.MODULES`).
    place : str
        Where its proteins live (`modules.PLACES`).
    architecture : tuple of str
        Motifs, domains, modules and decoys from N to C terminus.
    segment : Segment
        Its columns.
    """

    anchor: str
    place: str
    architecture: tuple[str, ...]
    segment: Segment


def anchor_of(world: int, seed: int, index: int) -> str:
    """Return the module that family `index` is built around.

    Families take turns through a shuffled deck of all modules, so that every motif occurs in about
    ``n_families / len(MODULES)`` families or more, however few there are.
    """
    names: list[str] = sorted(MODULES)
    turn, card = divmod(index, len(names))
    deck = np.random.default_rng([DECK, world, seed, turn]).permutation(len(names))
    return names[int(deck[card])]


def build_ancestor(
    config: SimulateConfig, world: int, index: int, rng: np.random.Generator
) -> Ancestor:
    """Return the ancestor of family `index`; its length lies within the configuration's bounds."""
    anchor = MODULES[anchor_of(world, config.seed, index)]
    shares = np.array([PLACES[name].share for name in anchor.places])
    place_name = str(rng.choice(anchor.places, p=shares / shares.sum()))
    place = PLACES[place_name]

    start = (
        planted(MOTIFS[place.start], rng) if place.start else pattern_segment("M", "", "any", rng)
    )
    end = [planted(MOTIFS[place.end], rng)] if place.end else []
    fixed = start.n_present + sum(segment.n_present for segment in end)
    wanted = int(_MEDIAN_LENGTH * np.exp(_LENGTH_SPREAD * rng.standard_normal()))
    target = int(np.clip(wanted, config.min_length, config.max_length))

    if place.bundle:
        # Other parts need room behind the helices; most if the family is built around them.
        space = config.max_length - fixed - (_LONGEST_ANCHOR if anchor.motifs else 0)
        wish = (target - fixed) // (2 if anchor.motifs else 1)
        helices = draw_helices(min(space, wish), rng)
        inside = bool(anchor.motifs) or rng.random() < 0.5
        start, tail = bundle(start, helices, inside, rng)
        fixed = start.n_present + tail.n_present

    parts = _parts(anchor, place_name, config.max_length - fixed, target - fixed, config, rng)
    body = _spread([segment for _, segment in parts], target - fixed, rng)
    if place.outside:
        body = body.exported()
    if place.bundle:
        body = behind(tail, body, inside)
    whole = join([start, body, *end])
    names = [name for name, _ in parts]
    if place.bundle:
        names.insert(0, f"transmembrane x{helices}")
    site_rates = rng.gamma(config.rate_shape, 1.0 / config.rate_shape, len(whole))
    return Ancestor(
        anchor=anchor.name,
        place=place_name,
        architecture=tuple(name for name in (place.start, *names, place.end) if name),
        segment=replace(whole, rate=whole.rate * site_rates),
    )


def _parts(
    anchor: Module,
    place: str,
    room: int,
    target: int,
    config: SimulateConfig,
    rng: np.random.Generator,
) -> list[tuple[str, Segment]]:
    """Draw the parts of a body: the anchor, then whatever fits the target length."""
    parts: list[tuple[str, Segment]] = []
    used = _MIN_LINKER
    if anchor.motifs:
        segment = _module(anchor, room - 2 * _MIN_LINKER, rng)
        parts.append((anchor.name, segment))
        used += segment.n_present + _MIN_LINKER

    others = [m for m in MODULES.values() if m.motifs and place in m.places and m is not anchor]
    candidates: list[tuple[str, Segment]] = []
    if others and rng.random() < _MODULE_CHANCE:
        module = others[int(rng.integers(len(others)))]
        candidates.append((module.name, _module(module, target - used, rng)))
    for _ in range(int(rng.poisson(config.decoys))):
        decoy = DECOYS[sorted(DECOYS)[int(rng.integers(len(DECOYS)))]]
        candidates.append((f"decoy {decoy.name}", decoy_segment(decoy, rng)))
    if PLACES[place].outside:
        candidates += [("n_glycosylation", _sequon(rng)) for _ in range(int(rng.integers(1, 4)))]
    while rng.random() < _DOMAIN_CHANCE:
        domain = library()[int(rng.integers(len(library())))]
        candidates.append((domain.name, family_copy(domain, rng)))
    for name, segment in candidates:
        if used + segment.n_present + _MIN_LINKER <= target:
            parts.append((name, segment))
            used += segment.n_present + _MIN_LINKER
    # Folded stretches of the family's own fill most of what is left; linkers get the rest.
    left = target - used
    while left >= _MIN_FOLD + _MIN_LINKER:
        size = int(rng.integers(_MIN_FOLD, min(left - _MIN_LINKER, 90) + 1))
        parts.append(("", scaffold(size, rng)))
        left -= size + _MIN_LINKER
    order = rng.permutation(len(parts))
    return [parts[i] for i in order]


def _sequon(rng: np.random.Generator) -> Segment:
    # Sequons are labelled in each member by where they are, planted or not: see `labels`.
    return replace(planted(MOTIFS["n_glycosylation"], rng), labels=[])


def _spread(parts: list[Segment], room: int, rng: np.random.Generator) -> Segment:
    """Join parts with linkers between them and at both ends; linkers share what room is left."""
    places = len(parts) + 1
    used = sum(part.n_present for part in parts) + places * _MIN_LINKER
    extra = rng.multinomial(max(0, room - used), np.full(places, 1 / places))
    linkers = [linker(_MIN_LINKER + int(more), rng) for more in extra]
    pieces = linkers[:1]
    for part, after in zip(parts, linkers[1:], strict=True):
        pieces += [part, after]
    return join(pieces)


def _module(module: Module, room: int, rng: np.random.Generator) -> Segment:
    """Build one module; if it does not fit `room`, with fewer copies and shorter gaps."""
    low, high = module.copies
    copies = int(rng.integers(low, high + 1))
    segment = _assemble(module, copies, module.gap[1], rng)
    while segment.n_present > room and copies > low:
        copies -= 1
        segment = _assemble(module, copies, module.gap[1], rng)
    if segment.n_present > room:
        segment = _assemble(module, copies, module.gap[0], rng)
    return segment


def _assemble(module: Module, copies: int, longest: int, rng: np.random.Generator) -> Segment:
    def gap() -> list[Segment]:
        size = int(rng.integers(module.gap[0], longest + 1))
        return [scaffold(size, rng, strands=module.strands)] if size else []

    pieces = gap()
    names = module.motifs * copies
    for position, name in enumerate(names):
        pieces.append(planted(MOTIFS[name], rng))
        last = position == len(names) - 1
        if module.tandem and not last:
            pieces.append(pattern_segment(module.tandem, "", "loop", rng))
        else:
            pieces += gap()
    whole = join(pieces)
    return whole.covered(module.name, module.mark) if module.mark else whole
