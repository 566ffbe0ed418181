"""The terms that proteins are tested for, and what is known of each: name, depth, information.

A thin layer over `labels.protein_labels`: GO terms closed over their ancestors where
an ontology is at hand, and whatever else the table says of a protein as a whole. What an ontology
does to a table (terms it lacks, terms it has given up) is said in words, because a slim that knows
a tenth of the ids would otherwise pass unnoticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from plmsae.concepts.labels.protein_labels import protein_concepts
from plmsae.core.errors import InputError
from plmsae.proteins.ontology import Ontology

GO_SPACES = ("biological_process", "cellular_component", "molecular_function", "go")
"""Namespaces of GO terms; ``go`` holds those no ontology has placed."""


@dataclass(frozen=True, kw_only=True)
class ProteinTerms:
    """Which proteins carry which terms, and what the terms are."""

    table: pl.DataFrame
    """``accession``, ``concept``, ``namespace``; each row once."""
    descriptions: pl.DataFrame
    """One row per term: ``concept``, ``namespace``, ``name``, ``n_proteins``; ``depth``, of a GO
    term the longest way up to a root of the ontology, of an EC number its levels, else null;
    ``information``, −log₂ of its share of the proteins with any term of its namespace."""
    notes: tuple[str, ...]
    """What was done to the GO terms, a sentence each."""


def gather_terms(
    tables: Sequence[pl.DataFrame], ontology: Ontology | None = None, *, ontology_name: str = ""
) -> ProteinTerms:
    """Return every term of every protein of some UniProt tables.

    Parameters
    ----------
    tables : sequence of polars.DataFrame
        As `plmsae.proteins.uniprot.read_table` gives them, without common proteins.
    ontology : Ontology, optional
        Adds ancestors over is_a and part_of, names, namespaces and depths. A term that it does not
        know stays as it is, in the namespace ``go``; one that it knows as obsolete without a
        replacement is left out.
    ontology_name : str
        For messages.

    Raises
    ------
    InputError
        If an ontology is given and a table has no GO terms, or it knows none of them; or if the
        tables have no term at all.
    """
    for number, table in enumerate(tables, start=1):
        if ontology is not None and listed_go(table).is_empty():
            which = "the table" if len(tables) == 1 else f"table {number} of {len(tables)}"
            raise InputError(
                f"{which} has no GO terms for the ontology to place",
                where=ontology_name or None,
                hint="export Gene Ontology IDs, or leave the ontology out",
            )
    table, notes = list_terms(tables, ontology, ontology_name=ontology_name)
    if not table.height:
        raise InputError(
            "the table says nothing of a protein as a whole",
            hint="export Gene Ontology IDs, EC number, Keywords or Protein families",
        )
    return ProteinTerms(table=table, descriptions=_describe(table, ontology), notes=tuple(notes))


def list_terms(
    tables: Sequence[pl.DataFrame], ontology: Ontology | None = None, *, ontology_name: str = ""
) -> tuple[pl.DataFrame, list[str]]:
    """Return which proteins of some UniProt tables carry which terms, of which there may be none.

    Parameters
    ----------
    others
        As for `gather_terms`.

    Returns
    -------
    table : polars.DataFrame
        ``accession``, ``concept``, ``namespace``; each row once.
    notes : list of str
        What was done to the GO terms, a sentence each.

    Raises
    ------
    InputError
        If the tables have GO terms and the ontology knows none of them.
    """
    parts = [protein_concepts(table, ontology) for table in tables]
    listed = pl.concat([listed_go(table) for table in tables])
    notes: list[str] = []
    if listed.height and ontology is not None:
        unknown, notes = _compare(listed, ontology, ontology_name)
        parts.append(
            unknown.select("accession", "concept", pl.lit("go").alias("namespace")).unique()
        )
    elif listed.height:
        notes = ["GO terms as the table lists them: no ancestors, no depth (no ontology was given)"]
    return pl.concat(parts).unique().sort("accession", "namespace", "concept"), notes


def listed_go(table: pl.DataFrame) -> pl.DataFrame:
    """Return the GO terms of a UniProt table as it lists them: ``accession``, ``concept``."""
    listed = table.select("accession", pl.col("go").alias("concept"))
    return listed.explode("concept").drop_nulls("concept")


def _compare(listed: pl.DataFrame, ontology: Ontology, name: str) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows of terms that the ontology lacks, and what to say about it."""
    known = ontology.ids
    ids = set(listed["concept"])
    lacking = ids - known
    gone = {term for term in ids & known if ontology.resolve(term) is None}
    if ids == lacking | gone:
        raise InputError(
            f"the ontology knows none of the {len(ids)} GO terms of the table",
            where=name or None,
            hint="is it the Gene Ontology?",
        )
    unknown = listed.filter(pl.col("concept").is_in(list(lacking)))
    notes = []
    if lacking:
        notes.append(
            f"{len(lacking)} of {len(ids)} GO terms ({unknown.height / listed.height:.0%} of the "
            f"annotations) are not in {name or 'the ontology'}: tested as listed, without "
            "ancestors or depth"
        )
    if gone:
        notes.append(f"{len(gone)} obsolete GO terms without a replacement are left out")
    return unknown, notes


def _describe(table: pl.DataFrame, ontology: Ontology | None) -> pl.DataFrame:
    counts = table.group_by("concept", "namespace").agg(pl.len().alias("n_proteins"))
    background = table.group_by("namespace").agg(pl.col("accession").n_unique().alias("of"))
    counts = counts.join(background, on="namespace").sort("namespace", "concept")
    concepts = counts["concept"].to_list()
    share = counts["n_proteins"].to_numpy() / counts["of"].to_numpy()
    return counts.select(
        "concept",
        "namespace",
        pl.Series("name", [_name(c, ontology) for c in concepts], dtype=pl.String),
        pl.Series("depth", [_depth(c, ontology) for c in concepts], dtype=pl.Int32),
        pl.col("n_proteins").cast(pl.Int64),
        pl.Series("information", -np.log2(share) + 0.0),  # + 0.0: not -0
    )


def _name(concept: str, ontology: Ontology | None) -> str | None:
    if concept.startswith("GO:"):
        return ontology[concept].name if ontology is not None and concept in ontology else None
    return concept


def _depth(concept: str, ontology: Ontology | None) -> int | None:
    if concept.startswith("EC:"):
        return concept.count(".") + 1
    if ontology is not None and concept.startswith("GO:") and concept in ontology:
        return ontology.depth(concept)
    return None
