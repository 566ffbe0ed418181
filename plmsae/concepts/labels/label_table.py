"""Residue labels: which residues of which protein carry which concept.

A **label table** is a polars frame with one row per instance: ``accession`` str, ``start`` and
``end`` i32 (1-based, inclusive), ``concept`` str, ``kind`` ``site`` or ``span``. It comes from a
UniProt table or from anyone's own (Pfam, DSSP, ELM …), and the two work the same way.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from plmsae.concepts.labels.names import (
    BOND_KEYS,
    COFACTOR_NAME,
    INTERPLM_SITES,
    SITE_KEYS,
    class_name,
    member_name,
)
from plmsae.concepts.labels.user_tables import LINE, read_frame, refuse_rows
from plmsae.core.errors import FormatError
from plmsae.proteins.features import Feature
from plmsae.proteins.stream import Source, source_name
from plmsae.proteins.uniprot import feature_columns, parse_features

LABEL_SCHEMA = pl.Schema(
    {
        "accession": pl.String(),
        "start": pl.Int32(),
        "end": pl.Int32(),
        "concept": pl.String(),
        "kind": pl.String(),
    }
)
"""Columns and types of a label table."""

_HINT = "a label table needs accession, start, end, concept and, if you like, kind"


def labels_from_uniprot(table: pl.DataFrame) -> pl.DataFrame:
    """Turn the feature columns of a UniProt table into residue labels.

    Parameters
    ----------
    table : polars.DataFrame
        As `plmsae.proteins.uniprot.read_table` gives it; any of the columns of `FEATURE_COLUMNS`.

    Returns
    -------
    polars.DataFrame
        A label table, sorted by accession, start, end, concept; equal rows once.

    Raises
    ------
    InputError
        If a cell cannot be parsed, or a position lies outside its sequence, with the accession and
        the column; or if features stand under a header that is not UniProt's.

    Notes
    -----
    - Every feature gives its class (``Domain``), which so includes all its rare members, and, if it
      has a name, its member concept (``Domain: SH3``): see `plmsae.concepts.labels.names`.
    - The kind follows the feature key, never the name. A multi-residue binding site is still a
      site.
    - Disulfide bonds and cross-links label the residues at their two ends.
    - An open end (``<1``, ``>120``) is kept at its number, and so is an unsure one (``?25``):
      dropping the feature would call all its residues negatives. A feature with an unknown end
      (``?``) is skipped, as nothing says how far it goes; so are features of other isoforms.
    - Where the table has a ``Cofactor`` column, a binding site whose ligand is a cofactor of its
      protein also gives ``Cofactor: Zn(2+)`` and ``Cofactor``.
    """
    columns = feature_columns(table)
    accessions: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    concepts: list[str] = []
    kinds: list[str] = []
    cofactors_of = _cofactors(table)
    for column in columns:
        filled = table.filter(pl.col(column).is_not_null())
        for accession, length, cell in filled.select("accession", "length", column).iter_rows():
            where = f"{accession}, column {column!r}"
            for feature in parse_features(cell, where=where):
                names = _concepts(feature, cofactors_of.get(accession, frozenset()))
                for start, end in _places(feature, length, where) if names else ():
                    for name in names:
                        accessions.append(accession)
                        starts.append(start)
                        ends.append(end)
                        concepts.append(name)
                        kinds.append("site" if feature.key in SITE_KEYS else "span")
    labels = pl.DataFrame(
        [accessions, starts, ends, concepts, kinds], schema=LABEL_SCHEMA, orient="col"
    )
    return _in_order(labels)


def read_labels(path: Source) -> pl.DataFrame:
    """Read a label table from TSV, CSV (plain, gzip or zstd) or Parquet.

    Parameters
    ----------
    path : str or Path
        A table with the columns accession, start, end, concept and, optionally, kind, in any order
        and letter case; others are ignored. Positions are 1-based and inclusive.

    Returns
    -------
    polars.DataFrame
        A label table. Without a ``kind`` column, a concept is a ``site`` if all its instances have
        one residue, else a ``span``.

    Raises
    ------
    InputError
        If the file is damaged, a column is missing, or a value does not fit; with the line.
    """
    where = source_name(path)
    frame = read_frame(path, hint=_HINT)
    for column in ("accession", "start", "end", "concept"):
        if column not in frame.columns:
            raise FormatError(
                f"the table has no column {column!r}",
                where=where,
                value=", ".join(name for name in frame.columns if name != LINE),
                hint=_HINT,
            )
    if not frame.height:
        raise FormatError("the table has a header and no rows", where=where)
    has_kind = "kind" in frame.columns
    lines = frame[LINE]
    text = frame.select(
        pl.col("accession", "concept", *(["kind"] if has_kind else []))
        .cast(pl.String)
        .str.replace_all(r"\s+", " ")
        .str.strip_chars(),
        pl.col("start", "end").cast(pl.String).str.strip_chars(),
    )
    typed = text.with_columns(pl.col("start", "end").cast(pl.Int32, strict=False))
    for column in ("start", "end"):
        refuse_rows(
            typed[column].is_null(), text[column], f"{column} is not a whole number", where, lines
        )
    for column in ("accession", "concept"):
        refuse_rows(
            typed[column].fill_null("") == "", text[column], f"{column} is empty", where, lines
        )
    refuse_rows(typed["start"] < 1, text["start"], "positions start at 1", where, lines)
    refuse_rows(typed["end"] < typed["start"], text["end"], "end lies before start", where, lines)
    if has_kind:
        kind = typed["kind"].fill_null("").str.to_lowercase()
        refuse_rows(
            ~kind.is_in(["site", "span"]), text["kind"], "kind is not site or span", where, lines
        )
        typed = typed.with_columns(kind.alias("kind"))
        mixed = typed.group_by("concept").agg(pl.col("kind").n_unique()).filter(pl.col("kind") > 1)
        if mixed.height:
            concept = str(mixed["concept"].min())
            raise FormatError("a concept is both site and span", where=where, record=concept)
    else:
        one = (pl.col("start") == pl.col("end")).all().over("concept")
        typed = typed.with_columns(
            pl.when(one).then(pl.lit("site")).otherwise(pl.lit("span")).alias("kind")
        )
    return _in_order(typed.select(LABEL_SCHEMA.names()).cast(LABEL_SCHEMA))


def with_interplm_kinds(labels: pl.DataFrame) -> pl.DataFrame:
    """Return `labels` with the kinds by which InterPLM counts: by residue, or by domain.

    A concept whose name holds one of `INTERPLM_SITES` of `plmsae.concepts.labels.names` is
    a ``site``, every other a ``span``. Ours follow the feature key: a binding site, a lipidation, a
    cross-link and a site are counted by residue.
    """
    is_site = pl.any_horizontal(
        pl.col("concept").str.contains(word, literal=True) for word in INTERPLM_SITES
    )
    kind = pl.when(is_site).then(pl.lit("site")).otherwise(pl.lit("span"))
    return labels.with_columns(kind.alias("kind"))


def check_labels(labels: pl.DataFrame, proteins: pl.DataFrame, *, where: str = "labels") -> None:
    """Raise `InputError` unless every label fits a protein.

    Parameters
    ----------
    labels : polars.DataFrame
        A label table.
    proteins : polars.DataFrame
        ``accession`` and ``length`` of the proteins that the labels are for.
    where : str
        Names the label table in messages.
    """
    joined = labels.join(
        proteins.select("accession", "length"), on="accession", how="left", maintain_order="left"
    )
    unknown = joined.filter(pl.col("length").is_null())["accession"].unique(maintain_order=True)
    if len(unknown):
        raise FormatError(
            f"{len(unknown)} accessions of the labels are not among the proteins",
            where=where,
            record=unknown[0],
        )
    outside = joined.filter(pl.col("end") > pl.col("length"))
    if outside.height:
        row = outside.row(0, named=True)
        raise FormatError(
            f"position {row['end']} lies outside the sequence of {row['length']} residues",
            where=where,
            record=f"{row['accession']}, concept {row['concept']!r}",
        )


def concept_counts(labels: pl.DataFrame) -> pl.DataFrame:
    """Count what each concept rests on.

    Returns
    -------
    polars.DataFrame
        ``concept``, ``kind``, ``n_residues`` (distinct residues, overlaps counted once),
        ``n_spans`` (instances), ``n_proteins``; the most residues first.
    """
    group = ["concept", "accession"]
    before = pl.col("end").cum_max().shift(1).over(group)
    return (
        labels.sort(*group, "start", "end")
        # Of each instance, what no earlier one of the same protein has covered already.
        .with_columns(
            fresh=(pl.col("end") - pl.max_horizontal(pl.col("start") - 1, before)).clip(0)
        )
        .group_by("concept")
        .agg(
            pl.col("kind").first(),
            n_residues=pl.col("fresh").sum().cast(pl.Int64),
            n_spans=pl.len().cast(pl.Int64),
            n_proteins=pl.col("accession").n_unique().cast(pl.Int64),
        )
        .sort(["n_residues", "concept"], descending=[True, False])
    )


def filter_concepts(
    labels: pl.DataFrame, *, min_residues: int = 0, min_spans: int = 0
) -> pl.DataFrame:
    """Keep the labels of concepts that have at least both of the given counts."""
    kept = concept_counts(labels).filter(
        pl.col("n_residues") >= min_residues, pl.col("n_spans") >= min_spans
    )
    return labels.join(kept.select("concept"), on="concept", how="semi", maintain_order="left")


def _concepts(feature: Feature, cofactors: frozenset[str]) -> list[str]:
    parent = class_name(feature)
    if parent is None or feature.isoform:
        return []
    name = member_name(feature)
    names = [parent, f"{parent}: {name}"] if name else [parent]
    if parent == "Binding site" and name.casefold() in cofactors:
        names += ["Cofactor", f"Cofactor: {name}"]
    return names


def _places(feature: Feature, length: int, where: str) -> Iterator[tuple[int, int]]:
    """Yield the 1-based inclusive (start, end) that `feature` labels."""
    for position in (feature.start, feature.end):
        if position is not None and position > length:
            raise FormatError(
                f"position {position} lies outside the sequence of {length} residues", where=where
            )
    if feature.key in BOND_KEYS:
        # Each end of a bond is a residue of its own: one known end is enough for its label.
        for position in dict.fromkeys((feature.start, feature.end)):
            if position is not None:
                yield position, position
    elif feature.start is not None and feature.end is not None:
        yield feature.start, feature.end


def _cofactors(table: pl.DataFrame) -> dict[str, frozenset[str]]:
    """Return the case-folded cofactor names of each accession."""
    if "Cofactor" not in table.columns:
        return {}
    filled = table.filter(pl.col("Cofactor").is_not_null())
    return {
        accession: frozenset(name.strip().casefold() for name in COFACTOR_NAME.findall(cell))
        for accession, cell in filled.select("accession", "Cofactor").iter_rows()
    }


def _in_order(labels: pl.DataFrame) -> pl.DataFrame:
    return labels.unique().sort("accession", "start", "end", "concept")
