"""From a concept's name back to where UniProt and the Sequence Ontology keep such things."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureType:
    """One kind of UniProt feature."""

    column: str
    """Header of its column in the website's TSV export."""
    key: str
    """Feature key inside the cell."""
    so_term: str
    """Name of the Sequence Ontology term that fits it."""
    qualifier: str = "note"
    """Qualifier that carries the name."""


_ROWS = (
    ("Active site", "Active site", "ACT_SITE", "catalytic_residue"),
    ("Binding site", "Binding site", "BINDING", "binding_site"),
    ("Site", "Site", "SITE", "polypeptide_region"),
    ("DNA binding", "DNA binding", "DNA_BIND", "DNA_binding_site"),
    ("Disulfide bond", "Disulfide bond", "DISULFID", "disulfide_bond"),
    ("Glycosylation", "Glycosylation", "CARBOHYD", "post_translationally_modified_region"),
    ("Lipidation", "Lipidation", "LIPID", "post_translationally_modified_region"),
    ("Modified residue", "Modified residue", "MOD_RES", "post_translationally_modified_region"),
    ("Cross-link", "Cross-link", "CROSSLNK", "post_translationally_modified_region"),
    ("Signal peptide", "Signal peptide", "SIGNAL", "signal_peptide"),
    ("Transit peptide", "Transit peptide", "TRANSIT", "transit_peptide"),
    ("Propeptide", "Propeptide", "PROPEP", "propeptide"),
    ("Chain", "Chain", "CHAIN", "mature_protein_region"),
    ("Peptide", "Peptide", "PEPTIDE", "active_peptide"),
    ("Helix", "Helix", "HELIX", "peptide_helix"),
    ("Beta strand", "Beta strand", "STRAND", "beta_strand"),
    ("Turn", "Turn", "TURN", "polypeptide_turn_motif"),
    ("Transmembrane", "Transmembrane", "TRANSMEM", "transmembrane_polypeptide_region"),
    ("Intramembrane", "Intramembrane", "INTRAMEM", "intramembrane_polypeptide_region"),
    ("Topological domain", "Topological domain", "TOPO_DOM", "extramembrane_polypeptide_region"),
    ("Coiled coil", "Coiled coil", "COILED", "coiled_coil"),
    (
        "Compositional bias",
        "Compositional bias",
        "COMPBIAS",
        "compositionally_biased_region_of_peptide",
    ),
    ("Domain", "Domain [FT]", "DOMAIN", "polypeptide_domain"),
    ("Motif", "Motif", "MOTIF", "polypeptide_motif"),
    ("Region", "Region", "REGION", "polypeptide_region"),
    ("Repeat", "Repeat", "REPEAT", "polypeptide_repeat"),
    ("Zinc finger", "Zinc finger", "ZN_FING", "polypeptide_structural_motif"),
)

FEATURE_TYPES: dict[str, FeatureType] = {
    name: FeatureType(
        column=column,
        key=key,
        so_term=so_term,
        qualifier="ligand" if key == "BINDING" else "note",
    )
    for name, column, key, so_term in _ROWS
}
"""Class of a concept (what stands before the colon) to its kind of feature, in export order."""

_OTHER = FEATURE_TYPES["Region"]


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


def feature_type(concept: str) -> tuple[FeatureType, str | None]:
    """Return the kind of feature of a concept, and the name its qualifier should carry.

    A concept that UniProt has no feature for (from a table of one's own) becomes a region under its
    full name.
    """
    kind, name = split_concept(concept)
    known = FEATURE_TYPES.get(kind)
    return (known, name) if known is not None else (_OTHER, concept)
