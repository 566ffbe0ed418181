"""From a concept's name back to where UniProt and the Sequence Ontology keep such things."""

from __future__ import annotations

from plmsae.proteins.features import Feature
from plmsae.proteins.uniprot import FEATURE_COLUMNS

SO_TERMS: dict[str, str] = {
    "Active site": "catalytic_residue",
    "Binding site": "binding_site",
    "Site": "polypeptide_region",
    "DNA binding": "DNA_binding_site",
    "Disulfide bond": "disulfide_bond",
    "Glycosylation": "post_translationally_modified_region",
    "Lipidation": "post_translationally_modified_region",
    "Modified residue": "post_translationally_modified_region",
    "Cross-link": "post_translationally_modified_region",
    "Signal peptide": "signal_peptide",
    "Transit peptide": "transit_peptide",
    "Propeptide": "propeptide",
    "Peptide": "active_peptide",
    "Chain": "mature_protein_region",
    "Helix": "peptide_helix",
    "Beta strand": "beta_strand",
    "Turn": "polypeptide_turn_motif",
    "Transmembrane": "transmembrane_polypeptide_region",
    "Intramembrane": "intramembrane_polypeptide_region",
    "Topological domain": "polypeptide_region",
    "Coiled coil": "coiled_coil",
    "Compositional bias": "compositionally_biased_region_of_peptide",
    "Domain [FT]": "polypeptide_domain",
    "Motif": "polypeptide_motif",
    "Region": "polypeptide_region",
    "Repeat": "polypeptide_repeat",
    "Zinc finger": "polypeptide_structural_motif",
}
"""Column of UniProt's export to the name of the Sequence Ontology term that fits it best."""

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
        Where it comes from, in UniProt's form ``ECO:0000256|…``.
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
