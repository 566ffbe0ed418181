"""Protein concepts: what is said of a protein as a whole.

GO terms with their ancestors, EC numbers at each level, keywords, families, cofactors, places in
the cell, organism.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import polars as pl

from plmsae.concepts.labels.names import COFACTOR_NAME, tidy_name
from plmsae.proteins.ontology import Ontology

PROTEIN_CONCEPT_SCHEMA = pl.Schema(
    {"accession": pl.String(), "concept": pl.String(), "namespace": pl.String()}
)
"""Columns and types of a table of protein concepts."""

_EVIDENCE = re.compile(r"\s*\{[^}]*\}")
_ISOFORM = re.compile(r"^\[[^\]]*\]:\s*")


def protein_concepts(table: pl.DataFrame, ontology: Ontology | None = None) -> pl.DataFrame:
    """Return every concept of every protein of a UniProt table.

    Parameters
    ----------
    table : polars.DataFrame
        As `plmsae.proteins.uniprot.read_table` gives it. Besides ``go``, ``ec`` and ``organism``,
        the raw columns Keywords, Protein families, Cofactor and Subcellular location [CC] are used
        where they exist.
    ontology : Ontology, optional
        Adds the ancestors of GO terms over is_a and part_of, and gives their namespaces. Terms that
        it does not know, or knows as obsolete without a replacement, are left out; ids of older
        releases become today's. Without it GO terms stand as they are, in the namespace ``go``.

    Returns
    -------
    polars.DataFrame
        ``accession``, ``concept``, ``namespace``; sorted, each row once. Concepts: ``GO:0005634``
        (namespace ``cellular_component``, …), ``EC:2.7``  and its other levels (``ec``),
        ``Keyword: …``, ``Family: …`` (each level of a family by itself), ``Cofactor: …``,
        ``Location: …``, ``Organism: …``.
    """
    rows: list[tuple[str, str, str]] = []
    for accession, terms, numbers, organism in table.select(
        "accession", "go", "ec", "organism"
    ).iter_rows():
        rows += [(accession, term, space) for term, space in _go(terms or [], ontology)]
        rows += [(accession, level, "ec") for level in _ec_levels(numbers or [])]
        if organism:
            rows.append((accession, f"Organism: {organism}", "organism"))
    readers: list[tuple[str, str, Callable[[str], list[str]]]] = [
        ("Keywords", "keyword", _keywords),
        ("Protein families", "family", _families),
        ("Cofactor", "cofactor", _cofactors),
        ("Subcellular location [CC]", "location", _locations),
    ]
    for column, space, reader in readers:
        if column not in table.columns:
            continue
        filled = table.filter(pl.col(column).is_not_null())
        for accession, cell in filled.select("accession", column).iter_rows():
            rows += [
                (accession, f"{space.capitalize()}: {name}", space) for name in reader(cell) if name
            ]
    frame = pl.DataFrame(rows, schema=PROTEIN_CONCEPT_SCHEMA, orient="row")
    return frame.unique().sort("accession", "namespace", "concept")


def _go(terms: list[str], ontology: Ontology | None) -> Iterator[tuple[str, str]]:
    if ontology is None:
        yield from ((term, "go") for term in terms)
        return
    for term in ontology.closure(terms):
        yield term, ontology[term].namespace or "go"


def _ec_levels(numbers: list[str]) -> Iterator[str]:
    """Yield ``EC:2``, ``EC:2.7``, … of each number; a level that is ``-`` is not known."""
    for number in numbers:
        levels = number.partition("-")[0].rstrip(".").split(".")
        for depth in range(1, len(levels) + 1):
            if levels[0]:
                yield "EC:" + ".".join(levels[:depth])


def _keywords(cell: str) -> list[str]:
    return [" ".join(name.split()) for name in cell.split(";")]


def _families(cell: str) -> list[str]:
    """Split ``Protein kinase superfamily, Ser/Thr protein kinase family; …`` into its levels."""
    # A comma splits levels only before a blank: "UPF0312, …" does, "Mrp1,2" does not.
    levels = [level for family in cell.split(";") for level in re.split(r",\s+", family)]
    return [" ".join(level.split()) for level in levels]


def _cofactors(cell: str) -> list[str]:
    return [tidy_name(name) for name in COFACTOR_NAME.findall(cell)]


def _locations(cell: str) -> list[str]:
    """Return the places of ``SUBCELLULAR LOCATION: Cytoplasm {ECO:…}. Nucleus. Note=…``.

    Each isoform or chain that goes elsewhere has such an account, with its own note.
    """
    accounts = _EVIDENCE.sub("", cell).split("SUBCELLULAR LOCATION:")
    text = " ".join(account.partition("Note=")[0] for account in accounts)
    names: list[str] = []
    for sentence in re.split(r"\.(?:\s+|$)", text):
        for place in sentence.split(";"):
            place = _ISOFORM.sub("", " ".join(place.split()))
            parts = place.split(", ")
            # A place within a place counts for both: "Nucleus, nucleolus".
            names += [tidy_name(", ".join(parts[: depth + 1])) for depth in range(len(parts))]
    return names
