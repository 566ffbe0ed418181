"""What is known about a feature, collected before anybody says what it means."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plmsae.concepts.association.tables import is_found
from plmsae.reports.testing.rules import SampledProtein
from plmsae.reports.testing.scores import PredictionTest

FLANK = 15
"""Residues shown on either side of the peak."""
LABEL = re.compile(r"(?P<concept>.+) (?P<start>\d+)\.\.(?P<end>\d+)")
"""How a label is written in the evidence."""


@dataclass(frozen=True, kw_only=True)
class ProteinMetadata:
    """What a table says of a protein beside its labels; written by others, not to be trusted."""

    name: str = ""
    organism: str = ""
    """Scientific name."""
    terms: tuple[str, ...] = ()
    """GO terms, keywords, families, EC numbers, locations, where the table has them."""


@dataclass(frozen=True, kw_only=True)
class ConceptScore:
    """How well a feature detects one concept, on proteins it was not chosen on."""

    concept: str
    f1: float
    """Harmonic mean of precision (by residue) and recall (by instance)."""
    f1_select: float
    """The same on the proteins on which it was chosen."""
    precision: float | None
    """Share of the active residues that carry the concept."""
    recall: float | None
    """Share of the instances of the concept that are hit."""
    threshold: float
    """Share of the feature's maximum above which it counts as firing."""
    f1_low: float | None = None
    """Lower end of the 95 % interval of `f1`; None where the evaluation has none for this pair."""
    f1_high: float | None = None
    """Upper end."""
    n_instances: int | None = None
    """Labelled instances that `f1` was measured on; None where the model does not say."""
    n_labelled: int | None = None
    """Proteins looked at here that are labelled with it; None where labels are not known."""

    @property
    def detected(self) -> bool:
        """Whether the feature counts as finding it, as in evaluations: on both sets of proteins."""
        return bool(is_found(self.f1, self.f1_select))


@dataclass(frozen=True, kw_only=True)
class ProteinExample:
    """One protein on which the feature fires, around the place where it fires most."""

    accession: str
    description: str
    """Its name, from whoever supplied the proteins; not to be trusted."""
    organism: str
    """Likewise; empty where not known."""
    terms: tuple[str, ...]
    """GO terms and the like (at most 12), where the table has them."""
    length: int
    """In residues."""
    activation: float
    """Largest activation in it, as a share of the feature's maximum, in [0, 1]."""
    peak: int
    """Where that is; 1-based."""
    active: tuple[tuple[int, int], ...]
    """Runs of active residues in the whole protein (at most 12, those with the highest peaks), by
    place; 1-based, inclusive."""
    window_start: int
    """Position of the first residue of the window; 1-based."""
    window: str
    """The sequence around the peak."""
    activations: tuple[float, ...]
    """Scaled activation of each residue of the window, in [0, 1]."""
    labels: tuple[str, ...]
    """Known labels on active residues or the peak: ``Domain: SH3 10..64``."""
    labels_at_peak: tuple[str, ...] = ()
    """Those of them that contain the peak."""

    def places_of(self, concept: str) -> list[tuple[int, int]]:
        """Return start and end of the labels of a concept; 1-based, inclusive."""
        found = map(LABEL.fullmatch, self.labels)
        return [(int(m["start"]), int(m["end"])) for m in found if m and m["concept"] == concept]


@dataclass(frozen=True, kw_only=True)
class SilentProtein:
    """A protein on which the feature does not fire."""

    accession: str
    description: str
    """Its name; not to be trusted."""
    organism: str
    """Likewise; empty where not known."""
    activation: float
    """Largest activation in it, in [0, 1]: 0, or under the active level for a relative."""
    is_relative: bool
    """Whether it is a hard negative: homologous to a protein on which the feature fires."""
    concepts: tuple[str, ...]
    """Concepts it is labelled with."""


@dataclass(frozen=True, kw_only=True)
class Companion:
    """Another feature that fires on the same residues."""

    latent: int
    concept: str | None
    """The concept it detects best, with F1 above 0.5 on both sets of proteins; None without one."""
    overlap: float
    """Residues on which both are active, over those on which either is, in [0, 1]."""
    n_residues: int
    """Residues on which both are active."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """Proteins whose largest activation lies in one tenth of the range."""

    low: float
    """Lower bound, included."""
    high: float
    """Upper bound, excluded; included in the last level, or the strongest would be lost."""
    n_proteins: int
    accessions: tuple[str, ...]
    """A few of them, the strongest first."""


@dataclass(frozen=True, kw_only=True)
class ResidueShare:
    """How often an amino acid stands at the peak."""

    residue: str
    share: float
    """Share of the peaks."""
    fold: float
    """The same over its share in all residues looked at."""


@dataclass(frozen=True, kw_only=True)
class FeatureEvidence:
    """Everything that is shown, to a reader or to a language model, about one feature."""

    latent: int
    """Its index in the SAE; 0-based."""
    density: float
    """Share of all residues of the reference set on which it is not zero."""
    max_activation: float
    """Its maximum there; all levels are shares of it."""
    n_proteins: int
    n_active: int
    """Those in which it is active (at least 0.15 of its maximum)."""
    concepts: tuple[ConceptScore, ...]
    """Concepts it detects, best first."""
    examples: tuple[ProteinExample, ...]
    """Proteins of every level, strongest first; those held back for testing are not among them."""
    silent: tuple[SilentProtein, ...]
    """Proteins without activation, then relatives of active ones that stay under 0.15."""
    companions: tuple[Companion, ...]
    """Features that fire together with it, the most overlap first (at most 8)."""
    levels: tuple[Level, ...]
    """The ten levels from low to high."""
    residues: tuple[ResidueShare, ...]
    """Amino acids at strong peaks, most common first (at most 6)."""
    logo: tuple[Mapping[str, float], ...]
    """For each offset from -7 to +7 around strong peaks, the share of each amino acid."""
    n_peaks: int
    """Number of strong peaks, one for each protein, behind `residues` and `logo`."""
    pattern: str
    """How it fires along a protein, as `concepts.features.patterns` tells it: ``point``,
    ``periodic``, ``short motif``, ``medium motif``, ``long motif``, ``whole protein`` or
    ``none``."""
    run_length: float
    """Longest run of active residues in a protein, the median over proteins."""
    coverage: float
    """Share of a protein that is active, the mean over proteins."""
    held_out: tuple[SampledProtein, ...]
    """Proteins held back: nothing of them is shown to who writes the description. Empty where too
    few proteins are active."""
    rule_test: PredictionTest | None
    """How well the best concept or motif, as a rule, predicts activations there; None without."""

    def to_json(self) -> dict[str, Any]:
        """Everything but sequences, in types that JSON has."""
        value = dataclasses.asdict(self)
        for protein in value["held_out"]:
            del protein["sequence"]
        return value
