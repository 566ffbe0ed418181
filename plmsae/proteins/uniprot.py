"""UniProt tables: the columns of the website's TSV export as one typed frame."""

from __future__ import annotations

import logging
import re
from typing import Any

import polars as pl

from plmsae.core.errors import FormatError, InputError
from plmsae.proteins.alphabet import Alphabet
from plmsae.proteins.features import Feature, first_key, parse_features, render_features
from plmsae.proteins.reading import RecordValidator, sniff
from plmsae.proteins.records import Protein
from plmsae.proteins.stream import Source, byte_chunks, source_name
from plmsae.proteins.tsv import (
    ACCESSION_HEADERS,
    LENGTH_HEADERS,
    NAME_HEADERS,
    SEQUENCE_HEADERS,
    TableReader,
    find_column,
    fold,
)

__all__ = [
    "ACCESSION",
    "FEATURE_COLUMNS",
    "Feature",
    "parse_features",
    "read_table",
    "render_features",
]

_log = logging.getLogger(__name__)

ACCESSION = re.compile(
    r"\b(?:[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})\b"
)
"""An accession, in its two forms (https://www.uniprot.org/help/accession_numbers)."""

FEATURE_COLUMNS: dict[str, str] = {
    "Active site": "ACT_SITE",
    "Binding site": "BINDING",
    "Site": "SITE",
    "DNA binding": "DNA_BIND",
    "Metal binding": "METAL",
    "Nucleotide binding": "NP_BIND",
    "Calcium binding": "CA_BIND",
    "Disulfide bond": "DISULFID",
    "Glycosylation": "CARBOHYD",
    "Lipidation": "LIPID",
    "Modified residue": "MOD_RES",
    "Cross-link": "CROSSLNK",
    "Non-standard residue": "NON_STD",
    "Initiator methionine": "INIT_MET",
    "Signal peptide": "SIGNAL",
    "Transit peptide": "TRANSIT",
    "Propeptide": "PROPEP",
    "Peptide": "PEPTIDE",
    "Chain": "CHAIN",
    "Helix": "HELIX",
    "Beta strand": "STRAND",
    "Turn": "TURN",
    "Transmembrane": "TRANSMEM",
    "Intramembrane": "INTRAMEM",
    "Topological domain": "TOPO_DOM",
    "Coiled coil": "COILED",
    "Compositional bias": "COMPBIAS",
    "Domain [FT]": "DOMAIN",
    "Motif": "MOTIF",
    "Region": "REGION",
    "Repeat": "REPEAT",
    "Zinc finger": "ZN_FING",
    "Natural variant": "VARIANT",
    "Mutagenesis": "MUTAGEN",
    "Alternative sequence": "VAR_SEQ",
    "Sequence conflict": "CONFLICT",
    "Sequence uncertainty": "UNSURE",
    "Non-adjacent residues": "NON_CONS",
    "Non-terminal residue": "NON_TER",
}
"""Column of the website's export → the key its features carry."""

TERM_COLUMNS = ("Keywords", "Protein families", "Cofactor", "Subcellular location [CC]")
"""Columns that say something of a protein as a whole, and are kept as they are."""

_ORGANISM = ("organism",)
_ORGANISM_ID = ("organism (id)", "organism id", "taxon id")
_GO = (
    "gene ontology ids",
    "gene ontology (go)",
    "gene ontology (biological process)",
    "gene ontology (cellular component)",
    "gene ontology (molecular function)",
)
_EC = ("ec number", "ec numbers")
_CLUSTER = ("cluster", "cluster id", "uniref50", "uniref 50", "uniref90", "uniref100")

_GO_ID = re.compile(r"GO:[0-9]{7}")
_EC_NUMBER = re.compile(r"[0-9]+(?:\.(?:[0-9]+|n[0-9]+|-)){1,3}")
_BATCH = 20_000

_SCHEMA: dict[str, Any] = {
    "accession": pl.String,
    "sequence": pl.String,
    "length": pl.Int32,
    "name": pl.String,
    "organism": pl.String,
    "organism_id": pl.Int64,
    "go": pl.List(pl.String),
    "ec": pl.List(pl.String),
    "cluster": pl.String,
}


def read_table(path: Source, *, strict: bool = False) -> pl.DataFrame:
    """Read a UniProt TSV export (plain, gzip or zstd).

    Parameters
    ----------
    path : str or Path
        The table, or ``"-"``. It needs the columns Entry and Sequence; every other is optional, in
        any order. Letter case of headers does not matter.
    strict : bool
        Raise for a row whose sequence is empty or holds an illegal character, or whose accession
        occurred before. By default such rows are left out with a warning.

    Returns
    -------
    polars.DataFrame
        ``accession``, ``sequence`` (tidied as by `read_proteins`), ``length`` (i32, counted),
        ``name``, ``organism``, ``organism_id`` (i64 or null), ``go`` (list of GO ids, sorted),
        ``ec`` (list of EC numbers), ``cluster`` (str or null), and every other column of the export
        under its own header, raw, blanks as null. The columns of `FEATURE_COLUMNS` and
        `TERM_COLUMNS` have exactly these headers.

    Raises
    ------
    InputError
        If the file is damaged, has no rows, lacks a needed column, or has a row with too few or too
        many cells or with a length that is not that of its sequence: columns may have shifted or
        been cut, so that no label of the table can be trusted. Also if a feature cell does not
        begin as UniProt writes features since 2019.

    Notes
    -----
    A cell that a spreadsheet put into quotes, with every quote inside doubled, is read without
    them.
    """
    name = source_name(path)
    form, chunks = sniff(name, byte_chunks(path))
    if form != "table":
        raise FormatError(
            "this is FASTA, a UniProt table (TSV) is needed here",
            where=name,
            hint="choose TSV under Download on the UniProt website",
        )
    reader = TableReader(name, chunks)
    judge = RecordValidator(path, strict=strict, alphabet=Alphabet())
    plan = _Plan(reader.headers)
    frames: list[pl.DataFrame] = []
    batch: list[tuple[Any, ...]] = []
    rows = dropped = 0
    for raw, cells in reader.rows():
        rows += 1
        if raw.problem:
            record = f"record {raw.number}" + (f" ({raw.accession})" if raw.accession else "")
            raise FormatError(raw.problem, where=name, record=record, line=raw.line)
        verdict = judge(raw)
        if not isinstance(verdict, Protein):
            dropped += 1
            if dropped <= 10:
                _log.warning("%s is left out: %s", verdict.where, verdict.reason)
            continue
        batch.append(plan.row(verdict, cells, name, raw.line))
        if len(batch) == _BATCH:
            frames.append(plan.frame(batch))
            batch = []
    if not rows:
        raise FormatError("the table has a header and no rows", where=name)
    if dropped:
        _log.warning("%s: %d of %d rows are left out", name, dropped, rows)
    frames.append(plan.frame(batch))
    return pl.concat(frames)


class _Plan:
    """Which column of the export becomes which column of the frame."""

    def __init__(self, headers: list[str]) -> None:
        used: set[int | None] = {
            find_column(headers, names)
            for names in (ACCESSION_HEADERS, SEQUENCE_HEADERS, LENGTH_HEADERS, NAME_HEADERS)
        }
        self._organism = find_column(headers, _ORGANISM)
        self._organism_id = find_column(headers, _ORGANISM_ID)
        self._ec = find_column(headers, _EC)
        self._cluster = find_column(headers, _CLUSTER)
        self._go = [at for at, header in enumerate(headers) if fold(header) in _GO]
        used |= {self._organism, self._organism_id, self._ec, self._cluster, *self._go}
        canonical = {fold(header): header for header in (*FEATURE_COLUMNS, *TERM_COLUMNS)}
        if "domain [ft]" not in map(fold, headers):
            canonical["domain"] = "Domain [FT]"
        self._rest = [at for at in range(len(headers)) if at not in used and headers[at]]
        names = [canonical.get(fold(headers[at]), headers[at]) for at in self._rest]
        self._features = {
            at: name for at, name in zip(self._rest, names, strict=True) if name in FEATURE_COLUMNS
        }
        self._schema = _SCHEMA | dict.fromkeys(
            (f"{name} (raw)" if name in _SCHEMA else name for name in names), pl.String
        )

    def row(self, protein: Protein, cells: list[str], name: str, line: int) -> tuple[Any, ...]:
        """Return one row of the frame."""
        organism_id = _text(cells, self._organism_id)
        if organism_id is not None and not re.fullmatch(r"[0-9]{1,18}", organism_id):
            raise FormatError(
                "the organism id is not a whole number",
                where=name,
                record=protein.accession,
                line=line,
                value=organism_id,
            )
        go = {term for at in self._go for term in _GO_ID.findall(cells[at])}
        ec = _text(cells, self._ec)
        rest = [_text(cells, at) for at in self._rest]
        for at, cell in zip(self._rest, rest, strict=True):
            if cell is not None and at in self._features and first_key(cell) is None:
                _refuse_cell(cell, name, protein.accession, self._features[at], line)
        return (
            protein.accession,
            protein.sequence,
            len(protein.sequence),
            protein.description,
            _text(cells, self._organism),
            None if organism_id is None else int(organism_id),
            sorted(go),
            [] if ec is None else list(dict.fromkeys(_EC_NUMBER.findall(ec))),
            _text(cells, self._cluster),
            *rest,
        )

    def frame(self, rows: list[tuple[Any, ...]]) -> pl.DataFrame:
        """Return `rows` as a typed frame."""
        return pl.DataFrame(rows, schema=self._schema, orient="row")


def feature_columns(table: pl.DataFrame) -> list[str]:
    """Return the columns of `table` that hold features, in the order of `FEATURE_COLUMNS`.

    Raises
    ------
    InputError
        If a column holds features under a header that is not UniProt's: its labels would count as
        absent.
    """
    column_of = {key: column for column, key in FEATURE_COLUMNS.items()}
    for column, dtype in table.schema.items():
        if column in FEATURE_COLUMNS or column in _SCHEMA or dtype != pl.String:
            continue
        filled = table[column].drop_nulls()
        key = first_key(filled[0]) if len(filled) else None
        if key in column_of:
            raise FormatError(
                f"the column {column!r} holds features ({key}), but its header is not UniProt's",
                hint=f"call it {column_of[key]!r}",
            )
    return [column for column in FEATURE_COLUMNS if column in table.columns]


def _refuse_cell(cell: str, name: str, accession: str, column: str, line: int) -> None:
    """Raise for a cell that is not a list of features, with the place in the file."""
    try:
        parse_features(cell, where=name)
    except InputError as error:
        raise FormatError(
            error.what,
            where=name,
            record=f"{accession}, column {column!r}",
            line=line,
            value=error.value,
            hint=error.hint,
        ) from None


def _text(cells: list[str], at: int | None) -> str | None:
    if at is None:
        return None
    cell = cells[at].strip()
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        inside = cell[1:-1]
        if '"' not in inside.replace('""', ""):  # as a spreadsheet writes it
            cell = inside.replace('""', '"').strip()
    return cell or None
