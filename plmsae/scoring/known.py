"""What a table already says, as labels that a proposal must not repeat, by the model's unit."""

from __future__ import annotations

import logging

import polars as pl

from plmsae.concepts.labels.label_table import LABEL_SCHEMA, labels_from_uniprot
from plmsae.concepts.labels.protein_terms import GO_SPACES, list_terms, listed_go
from plmsae.core.errors import InputError
from plmsae.proteins.ontology import Ontology
from plmsae.proteins.uniprot import FEATURE_COLUMNS, feature_columns
from plmsae.scoring.encoding import ModelBundle
from plmsae.scoring.uniprot_names import known_column, split_concept

_log = logging.getLogger(__name__)


def known_labels(
    table: pl.DataFrame, unit: str, ontology: Ontology | None = None, *, ontology_name: str = ""
) -> pl.DataFrame:
    """Return the labels of a UniProt table, of residues or of whole proteins.

    Parameters
    ----------
    table : polars.DataFrame
        As `plmsae.proteins.uniprot.read_table` gives it.
    unit : str
        That of the model: ``residue`` (`label_table.labels_from_uniprot`), or
        ``protein``: the terms of `protein_terms.list_terms`, as in evaluation, each
        over its whole protein, 1..length.
    ontology : Ontology, optional
        Adds the ancestors of GO terms.
    ontology_name : str
        For messages.

    Returns
    -------
    polars.DataFrame
        As `labels_from_uniprot` returns it.

    Raises
    ------
    InputError
        If a cell cannot be parsed, or the ontology knows none of the table's GO terms. A table
        without GO terms is none: it lacks them all.

    Notes
    -----
    Beside the terms that the ontology makes of them, the listed ones stand as they are: an id that
    is an older name of another, or was given up, is in the table nevertheless. And as a protein has
    one organism, a known one also stands for the class ``Organism``, so that no other is proposed.
    """
    if unit == "residue":
        return labels_from_uniprot(table)
    terms, notes = list_terms([table], ontology, ontology_name=ontology_name)
    for note in notes:
        _log.info(note)
    organism = terms.filter(namespace="organism").select("accession", concept=pl.lit("Organism"))
    labels = pl.concat([terms.select("accession", "concept"), listed_go(table), organism]).unique()
    labels = labels.join(table.select("accession", end="length"), on="accession")
    return (
        labels.select(
            "accession", pl.lit(1).alias("start"), "end", "concept", pl.lit("span").alias("kind")
        )
        .cast(LABEL_SCHEMA)
        .sort("accession", "start", "end", "concept")
    )


def refuse_without_features(table: pl.DataFrame, bundle: ModelBundle, *, where: str) -> None:
    """Raise `InputError` if the model is of residues and the table has no feature column."""
    if bundle.meta.unit == "residue" and not feature_columns(table):
        raise InputError(
            "the table has no feature columns, so nothing says which labels are known",
            where=where,
            hint="add Active site, Binding site, … under Customize columns of the UniProt website; "
            "plmsae score annotates proteins without known labels",
        )


def check_feature_columns(table: pl.DataFrame, bundle: ModelBundle, *, where: str) -> None:
    """Refuse a table without feature columns, and name those that the model's concepts lack.

    A label that a table has no column for is not known to be there, so every call of it would be
    proposed as new.

    Parameters
    ----------
    table : polars.DataFrame
        As `plmsae.proteins.uniprot.read_table` gives it.
    bundle : ModelBundle
        The model; one of whole proteins needs no features.
    where : str
        Names the table in messages.

    Raises
    ------
    InputError
        If the model is of residues and the table has no feature column.
    """
    refuse_without_features(table, bundle, where=where)
    if bundle.meta.unit != "residue":
        return
    found = feature_columns(table)
    classes = {split_concept(concept)[0] for concept in bundle.concepts["concept"].to_list()}
    needed = {column for name in classes if (column := known_column(name)) is not None}
    lacking = [column for column in FEATURE_COLUMNS if column in needed.difference(found)]
    if lacking:
        _log.warning(
            "%s has the feature columns %s; without %s, which the model calls too, all calls of "
            "these are proposed as new",
            where,
            ", ".join(found),
            ", ".join(lacking),
        )


def check_ontology(bundle: ModelBundle, ontology: Ontology | None) -> None:
    """Refuse an ontology, or the lack of one, with which a table's GO terms cannot be told known.

    A model evaluated with an ontology calls ancestors of the terms that tables list: without theirs
    it would propose what the table implies.

    Parameters
    ----------
    bundle : ModelBundle
        The model. Its metadata name the ontology of its evaluation; that there was one is also
        seen from its concepts, as bundles from before that was noted have it.
    ontology : Ontology or None
        What was given.

    Raises
    ------
    InputError
        If the model is of residues and an ontology is given, or it was evaluated with one and none
        is given, or one that lacks terms of that.
    """
    if bundle.meta.unit == "residue":
        if ontology is not None:
            raise InputError(
                "only protein-level models know GO terms; this one is of residues",
                where="--ontology",
            )
        return
    name, version = (bundle.meta.extra.get(key) for key in ("ontology", "ontology_version"))
    called = " ".join(str(word) for word in (name, version and f"({version})") if word)
    placed = _placed_terms(bundle.concepts)
    if ontology is None:
        if placed or name:
            raise InputError(
                "the model was evaluated with an ontology, without which fill would propose what "
                "the table's GO terms imply",
                hint=f"give it with --ontology{called and ': '}{called}",
            )
        return
    lacking = sorted(placed - ontology.ids)
    if lacking:
        raise InputError(
            f"the ontology lacks {len(lacking)} of the {len(placed)} GO terms that the model's "
            f"own placed, such as {lacking[0]}",
            where="--ontology",
            hint=f"give that one{called and ': '}{called}",
        )
    if version and version != ontology.version:
        _log.warning(
            "the model was evaluated with %s, the ontology given is %s",
            called,
            ontology.version or "of no named release",
        )


def _placed_terms(concepts: pl.DataFrame) -> set[str]:
    """Return the GO terms among a model's concepts that its ontology knew."""
    if "namespace" not in concepts.columns:
        return set()
    spaces = [space for space in GO_SPACES if space != "go"]
    return set(concepts.filter(pl.col("namespace").is_in(spaces))["concept"])
