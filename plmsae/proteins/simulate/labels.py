"""Labels of proteins: from columns of a family to features at positions of each member."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from plmsae.proteins.simulate.members import Family
from plmsae.proteins.simulate.modules import PLACES
from plmsae.proteins.simulate.motif import Qualifiers
from plmsae.proteins.simulate.motifs import MOTIFS

FEATURE_COLUMNS = (
    *("Active site", "Binding site", "Site", "DNA binding", "Disulfide bond", "Glycosylation"),
    *("Lipidation", "Modified residue", "Cross-link", "Signal peptide", "Transit peptide"),
    *("Propeptide", "Helix", "Beta strand", "Turn", "Transmembrane", "Intramembrane"),
    *("Topological domain", "Coiled coil", "Compositional bias", "Domain [FT]", "Motif", "Region"),
    *("Repeat", "Zinc finger"),
)
"""Feature columns of the UniProt export, in its order."""

_SEQUON = re.compile(f"(?={MOTIFS['n_glycosylation'].regex.pattern})")
_STRUCTURE = "structure"


@dataclass(frozen=True, slots=True)
class Feature:
    """One label of one protein: 1-based positions, both ends included."""

    accession: str
    source: str
    """The motif or domain it comes from; all of one source in one protein are hidden together."""
    column: str
    key: str
    start: int
    end: int
    qualifiers: Qualifiers

    @property
    def hideable(self) -> bool:
        """Whether labels like it are ever hidden: secondary structure is not."""
        return self.source != _STRUCTURE

    def text(self) -> str:
        """As UniProt writes it: ``BINDING 32..39; /ligand="ATP"``."""
        place = str(self.start) if self.start == self.end else f"{self.start}..{self.end}"
        return "; ".join(
            [f"{self.key} {place}", *(f'/{name}="{value}"' for name, value in self.qualifiers)]
        )

    @property
    def note(self) -> str:
        """The value of its first qualifier without a running number; empty if it has none."""
        return re.sub(r" \d+$", "", self.qualifiers[0][1]) if self.qualifiers else ""

    @property
    def concept(self) -> str:
        """Column and note: ``Domain: EF-hand``, or ``Signal peptide`` alone."""
        return self.column.removesuffix(" [FT]") + (f": {self.note}" if self.note else "")


@dataclass(frozen=True, slots=True)
class DecoyAt:
    """One stretch of one protein that looks like a motif and is not: 1-based, both included."""

    accession: str
    name: str
    imitates: str
    start: int
    end: int


def accession_of(family: int, member: int) -> str:
    """Return the accession of a member: ``F0012P003`` is the third protein of the twelfth."""
    return f"F{family + 1:04d}P{member + 1:03d}"


def features_of(family: Family) -> list[Feature]:
    """Return all features of all members, by member, then by position."""
    segment = family.ancestor.segment
    upto = np.cumsum(family.present, axis=1)
    found: list[Feature] = []
    # Columns -> positions for all members at once: the first residue at or after the start, the
    # last at or before the end.
    starts = [upto[:, label.start] + ~family.present[:, label.start] for label in segment.labels]
    ends = [upto[:, label.end] for label in segment.labels]
    for member in range(len(family.sequences)):
        accession = accession_of(family.index, member)
        mine = [
            Feature(
                accession, label.source, label.column, label.key,
                int(start[member]), int(end[member]),
                _qualified(label.qualifiers, label.numbered),
            )
            for label, start, end in zip(segment.labels, starts, ends, strict=True)
            if (label.planted < 0 or family.kept[member, label.planted])
            and start[member] <= end[member]
        ]  # fmt: skip
        mine += _sequons(family, member, accession)
        found += _numbered(sorted(mine, key=lambda feature: (feature.start, feature.end)))
    return found


_NUMBER = " {n}"


def _qualified(qualifiers: Qualifiers, numbered: bool) -> Qualifiers:
    if not numbered:
        return qualifiers
    return tuple((name, value + _NUMBER) for name, value in qualifiers)


def _numbered(features: list[Feature]) -> list[Feature]:
    """Give like features of one protein a number (``C2H2-type 1``); a lone one gets none."""
    marked = [f for f in features if f.qualifiers and f.qualifiers[0][1].endswith(_NUMBER)]
    total = Counter((f.key, f.qualifiers) for f in marked)
    seen: Counter[tuple[str, Qualifiers]] = Counter()
    result = []
    for feature in features:
        kind = (feature.key, feature.qualifiers)
        if kind in total:
            seen[kind] += 1
            number = f" {seen[kind]}" if total[kind] > 1 else ""
            renamed = tuple((n, v.removesuffix(_NUMBER) + number) for n, v in feature.qualifiers)
            feature = Feature(
                feature.accession, feature.source, feature.column, feature.key, feature.start,
                feature.end, renamed,
            )  # fmt: skip
        result.append(feature)
    return result


def _sequons(family: Family, member: int, accession: str) -> list[Feature]:
    """Every N-{P}-[ST]-{P} outside the cell, planted or born by chance, and none inside."""
    outside = family.ancestor.segment.outside
    if not outside.any():
        return []
    exposed = outside[family.present[member]]
    motif = MOTIFS["n_glycosylation"]
    mark = motif.marks[0]
    return [
        Feature(
            accession, motif.name, mark.column, mark.key, match.start() + 1, match.start() + 1,
            mark.qualifiers,
        )
        for match in _SEQUON.finditer(family.sequences[member])
        if exposed[match.start()]
    ]  # fmt: skip


def decoys_of(family: Family) -> list[DecoyAt]:
    """Return the decoys of all members, and the motifs that some of them have lost."""
    upto = np.cumsum(family.present, axis=1)
    found = []
    for member in range(len(family.sequences)):
        for number, item in enumerate(family.ancestor.segment.planted):
            if item.imitates or not family.kept[member, number]:
                found.append(
                    DecoyAt(
                        accession_of(family.index, member),
                        item.name if item.imitates else f"lost_{item.name}",
                        item.imitates or item.name,
                        int(upto[member, item.start]),
                        int(upto[member, item.end]),
                    )
                )
    return found


def cells(features: Iterable[Feature]) -> dict[str, dict[str, str]]:
    """Return the text of each feature column of each protein, by accession, then by header."""
    parts: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for feature in features:
        parts[feature.accession][feature.column].append(feature.text())
    return {
        accession: {column: "; ".join(texts) for column, texts in columns.items()}
        for accession, columns in parts.items()
    }


def terms(place: str, sources: set[str]) -> tuple[str, str]:
    """Return the cells of GO terms and EC numbers that a protein's visible labels imply."""
    motifs = [MOTIFS[source] for source in sources if source in MOTIFS]
    go = {term for motif in motifs for term in motif.go} | set(PLACES[place].go)
    ec = {motif.ec for motif in motifs if motif.ec}
    return "; ".join(sorted(go)), "; ".join(sorted(ec))
