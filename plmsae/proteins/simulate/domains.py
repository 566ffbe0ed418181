"""A library of fold domains that families share, as real families share Pfam domains.

The library is part of the simulated world and the same for every seed. Its names are made up
(``Alpha fold C``): nothing here should be taken for a real domain. A family gets its own divergent
copy of an ancestor; what stays recognisable is the profile of conserved sites.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from string import ascii_uppercase

import numpy as np

from plmsae.proteins.simulate.alphabet import BACKGROUND
from plmsae.proteins.simulate.evolution import drift
from plmsae.proteins.simulate.motif import span
from plmsae.proteins.simulate.segments import Segment, scaffold
from plmsae.proteins.simulate.substitution import transition

N_DOMAINS = 40
_LIBRARY_SEED = 1_968  # the world's own; seeds of users choose families, not folds
_CLASSES = (("Alpha", 0.0), ("Beta", 1.0), ("Alpha/beta", 0.5))
_CONSERVED_SHARE = 0.4
_FAMILY_DIVERGENCE = 1.0


@dataclass(frozen=True, slots=True)
class FoldDomain:
    """One domain of the library: its name and its ancestor."""

    name: str
    ancestor: Segment


@cache
def library() -> tuple[FoldDomain, ...]:
    """Return the 40 fold domains: 45-130 residues, all-helical, all-strand or mixed."""
    rng = np.random.default_rng(_LIBRARY_SEED)
    domains = []
    for index in range(N_DOMAINS):
        label, strands = _CLASSES[index % len(_CLASSES)]
        ancestor = scaffold(int(rng.integers(45, 131)), rng, strands=strands)
        # Letters, because a number at the end of a UniProt note counts copies.
        domains.append(
            FoldDomain(f"{label} fold {ascii_uppercase[index // 3]}", _sharpened(ancestor, rng))
        )
    return tuple(domains)


def _sharpened(ancestor: Segment, rng: np.random.Generator) -> Segment:
    """Hold each site to its ancestral residue and what resembles it, some sites much harder."""
    conserved = rng.random(len(ancestor)) < _CONSERVED_SHARE
    hold = np.where(conserved, 0.9, 0.35)[:, None]
    similar = transition(np.array(0.35))[ancestor.residues]
    profile = (1 - hold) * ancestor.profile + hold * similar
    # A floor keeps every residue possible, as in any real alignment.
    profile = 0.98 * profile + 0.02 * BACKGROUND
    return replace(
        ancestor,
        profile=profile,
        rate=ancestor.rate * np.where(conserved, 0.35, 1.0),
        slack=ancestor.slack & ~conserved,
    )


def family_copy(domain: FoldDomain, rng: np.random.Generator) -> Segment:
    """Return the copy that one family inherits, labelled with the domain's name."""
    mark = span("Domain [FT]", "DOMAIN", domain.name, numbered=True)
    diverged = drift(domain.ancestor, _FAMILY_DIVERGENCE, rng)
    return diverged.covered(domain.name, mark)
