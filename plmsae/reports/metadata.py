"""What is known of proteins beside their labels: names, organisms, terms."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from plmsae.concepts.labels.protein_labels import protein_concepts
from plmsae.proteins.records import Protein
from plmsae.reports.evidence import ProteinMetadata

_ORGANISM = re.compile(r"\bOS=(.+?)(?=\s[A-Z]{2}=|$)")  # as UniProt writes FASTA headers


def protein_metadata(
    proteins: Sequence[Protein], table: pl.DataFrame | None
) -> dict[str, ProteinMetadata]:
    """Return the metadata of each protein by accession.

    Parameters
    ----------
    proteins : sequence of Protein
        As they were read; a FASTA description gives name and organism.
    table : polars.DataFrame or None
        As `plmsae.proteins.uniprot.read_table` gives it, if the proteins came from a table.
    """
    organisms: dict[str, str] = {}
    terms: dict[str, list[str]] = {}
    if table is not None:
        organisms = {a: o for a, o in table.select("accession", "organism").iter_rows() if o}
        wanted = pl.Series([p.accession for p in proteins], dtype=pl.String)
        part = table.filter(pl.col("accession").is_in(wanted.implode()))
        for accession, concept, namespace in protein_concepts(part).iter_rows():
            if namespace != "organism":
                terms.setdefault(accession, []).append(_tidy(concept))
    found = {}
    for protein in proteins:
        header = _ORGANISM.search(protein.description)
        found[protein.accession] = ProteinMetadata(
            name=_tidy(protein.description[: header.start()] if header else protein.description),
            organism=_tidy(organisms.get(protein.accession) or (header.group(1) if header else "")),
            terms=tuple(terms.get(protein.accession, ())),
        )
    return found


def _tidy(text: str) -> str:
    return " ".join(text.split())[:200]
