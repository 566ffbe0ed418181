"""From a concept's name back to where UniProt and the Sequence Ontology keep such things."""

from __future__ import annotations

from typing import NamedTuple

from plmsae.proteins.features import Feature
from plmsae.proteins.uniprot import FEATURE_COLUMNS


class SoTerm(NamedTuple):
    """A term of the Sequence Ontology, the type of a GFF3 line."""

    name: str
    """As GFF3 writes it."""
    id: str
    """``SO:…``."""
    modification: str = ""
    """``MOD:…``, the class of protein modification (PSI-MOD) that says exactly what it is, where
    the Sequence Ontology has only a broader term; "" where its own term fits."""


# Release 2024-11-18 of the Sequence Ontology and 1.031.6 of PSI-MOD. The Sequence Ontology names
# the UniProt keys it means in its synonyms; these are followed where a term is live. It has no live
# term for disulfide bonds (SO:0001088 is obsolete), glycosylation, lipidation and cross-links.
SO_TERMS: dict[str, SoTerm] = {
    "Active site": SoTerm("catalytic_residue", "SO:0001104"),
    "Binding site": SoTerm("polypeptide_ligand_contact", "SO:0001105"),
    "Site": SoTerm("polypeptide_region", "SO:0000839"),
    "DNA binding": SoTerm("polypeptide_DNA_contact", "SO:0100020"),
    "Disulfide bond": SoTerm("modified_L_cysteine", "SO:0001390", "MOD:00689"),
    "Glycosylation": SoTerm("modified_amino_acid_feature", "SO:0001385", "MOD:00693"),
    "Lipidation": SoTerm("modified_amino_acid_feature", "SO:0001385", "MOD:01155"),
    "Modified residue": SoTerm("post_translationally_modified_region", "SO:0001089"),
    "Cross-link": SoTerm("modified_amino_acid_feature", "SO:0001385", "MOD:00033"),
    "Non-standard residue": SoTerm("amino_acid", "SO:0001237"),
    "Initiator methionine": SoTerm("cleaved_initiator_methionine", "SO:0000691"),
    "Signal peptide": SoTerm("signal_peptide", "SO:0000418"),
    "Transit peptide": SoTerm("transit_peptide", "SO:0000725"),
    "Propeptide": SoTerm("propeptide", "SO:0001062"),
    "Peptide": SoTerm("active_peptide", "SO:0001064"),
    "Chain": SoTerm("mature_protein_region", "SO:0000419"),
    "Helix": SoTerm("peptide_helix", "SO:0001114"),
    "Beta strand": SoTerm("beta_strand", "SO:0001111"),
    "Turn": SoTerm("polypeptide_turn_motif", "SO:0001128"),
    "Transmembrane": SoTerm("transmembrane_polypeptide_region", "SO:0001077"),
    "Intramembrane": SoTerm("intramembrane_polypeptide_region", "SO:0001075"),
    "Topological domain": SoTerm("extramembrane_polypeptide_region", "SO:0001072"),
    "Coiled coil": SoTerm("coiled_coil", "SO:0001080"),
    "Compositional bias": SoTerm("compositionally_biased_region_of_peptide", "SO:0001066"),
    "Domain [FT]": SoTerm("polypeptide_domain", "SO:0000417"),
    "Motif": SoTerm("polypeptide_motif", "SO:0001067"),
    "Region": SoTerm("polypeptide_region", "SO:0000839"),
    "Repeat": SoTerm("polypeptide_repeat", "SO:0001068"),
    "Zinc finger": SoTerm("polypeptide_structural_motif", "SO:0001079"),
}
"""Column of UniProt's export to the live term of the Sequence Ontology that fits it best."""

_MEMBER_TERMS = {
    "Topological domain: Cytoplasmic": SoTerm("cytoplasmic_polypeptide_region", "SO:0001073"),
    "Topological domain: Extracellular": SoTerm("non_cytoplasmic_polypeptide_region", "SO:0001074"),
}

# The class of a concept is the header of its column, without the mark that tells two apart.
_COLUMN_OF = {column.removesuffix(" [FT]"): column for column in SO_TERMS}
_COLUMN_OF["Cofactor"] = "Binding site"  # a binding site whose ligand is a cofactor


def split_concept(concept: str) -> tuple[str, str | None]:
    """Split ``Domain: SH3`` into its class and its name; a class alone has no name.

    Examples
    --------
    >>> split_concept("Domain: SH3")
    ('Domain', 'SH3')
    >>> split_concept("Active site")
    ('Active site', None)
    """
    kind, colon, name = concept.partition(": ")
    return (kind, name) if colon else (concept, None)


def known_column(kind: str) -> str | None:
    """Return the column that holds concepts of class `kind`; None if UniProt has none."""
    return _COLUMN_OF.get(kind)


def column_of(concept: str) -> str:
    """Return the column of UniProt's export that holds such a concept.

    A concept that UniProt has no feature for (from a table of one's own) is a region.
    """
    return _COLUMN_OF.get(split_concept(concept)[0], "Region")


def so_term(concept: str) -> SoTerm:
    """Return the term of the Sequence Ontology for a concept: its own, or that of its class."""
    return _MEMBER_TERMS.get(concept) or SO_TERMS[column_of(concept)]


def as_feature(concept: str, start: int, end: int, *, evidence: str) -> Feature:
    """Return the UniProt feature of a call, named so that it reads back as the same concept.

    Parameters
    ----------
    concept : str
        ``Domain: SH3`` becomes a ``DOMAIN`` with that note; ``Binding site: ATP`` has a ligand; a
        concept that UniProt does not know becomes a ``REGION`` under its full name.
    start, end : int
        1-based inclusive.
    evidence : str
        Where it comes from, in UniProt's form ``ECO:0008006|…``.
    """
    column = column_of(concept)
    kind, name = split_concept(concept)
    if kind not in _COLUMN_OF:
        name = concept
    key = FEATURE_COLUMNS[column]
    qualifiers = {"evidence": evidence}
    if name is not None:
        qualifiers = {"ligand" if key == "BINDING" else "note": name, **qualifiers}
    return Feature(key=key, start=start, end=end, qualifiers=qualifiers)
