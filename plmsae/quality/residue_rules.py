"""Which residues a concept can be on: the rules of ``registry/residue_rules.yaml``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import yaml

from plmsae.core.resources import registry_path


@dataclass(frozen=True, kw_only=True)
class ResidueRule:
    """One rule; that file says what the fields mean."""

    concept: str
    """A concept, or the beginning of its name that ends with a word."""
    motif: str | None = None
    """What the sequence matches from the first residue of the call on."""
    end_motif: str | None = None
    """What it matches from the last one on."""
    max_start: int | None = None
    """Greatest first position; 1-based."""
    why: str
    """For the report."""

    def applies(self, concept: str) -> bool:
        """Whether it is about a concept: the same, or a member (``: …``) or a variant (`` (…``)."""
        rest = concept.removeprefix(self.concept)
        return rest != concept and (not rest or rest[0] in ": ")

    def broken_by(self, sequence: str, start: int, end: int) -> str | None:
        """Say how a call (1-based, inclusive) breaks it; None if it does not.

        Positions outside the sequence are another expectation's affair.
        """
        if not 1 <= start <= end <= len(sequence):
            return None
        if self.max_start is not None and start > self.max_start:
            return f"starts at {start}, not by {self.max_start}: {self.why}"
        for motif, position in ((self.motif, start), (self.end_motif, end)):
            if motif is not None and not re.compile(motif).match(sequence, position - 1):
                found = sequence[position - 1 : position + 2]
                return f"{found} at {position}: {self.why}"
        return None


@cache
def residue_rules() -> tuple[ResidueRule, ...]:
    """Read the reviewed rules."""
    text = registry_path("residue_rules.yaml").read_text(encoding="utf-8")
    return tuple(ResidueRule(**entry) for entry in yaml.safe_load(text))
