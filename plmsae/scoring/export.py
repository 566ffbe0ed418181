"""Score folders as GFF3, as UniProt-style TSV and as JSON lines.

All three stream part by part in input order, and a file appears whole or not at all.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, get_args

from plmsae.core.atomic import atomic_path
from plmsae.core.errors import InputError
from plmsae.proteins.features import Feature, render_features
from plmsae.scoring.folder import ScoreFolder
from plmsae.scoring.uniprot_names import SO_TERMS, as_feature, column_of

ExportFormat = Literal["gff3", "tsv", "jsonl"]

Row = dict[str, Any]


def export(out_dir: str | Path, format: ExportFormat, target: str | Path) -> int:
    """Write the annotations of a complete score folder in another format.

    Parameters
    ----------
    out_dir : str or Path
        A folder that `plmsae.scoring.engine.score` completed.
    format : {"gff3", "tsv", "jsonl"}
        ``gff3``: GFF3 1.26, one line an annotation. ``tsv``: one line a protein, in the columns and
        feature syntax of the UniProt website's export. ``jsonl``: one object a record, rejected
        records included.
    target : str or Path
        The file; ``-`` for standard output.

    Returns
    -------
    int
        Annotations written.

    Raises
    ------
    InputError
        If the folder is not complete or the format is unknown.
    """
    if format not in get_args(ExportFormat):
        formats = ", ".join(get_args(ExportFormat))
        raise InputError("unknown export format", value=str(format), hint=f"known: {formats}")
    folder = ScoreFolder(Path(out_dir))
    folder.manifest()
    lines = _WRITERS[format](folder)
    if str(target) == "-":
        return _write(sys.stdout, lines)
    with (
        atomic_path(Path(target)) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as handle,
    ):
        return _write(handle, lines)


def _write(handle: IO[str], lines: Iterable[tuple[str, int]]) -> int:
    total = 0
    for text, count in lines:
        handle.write(text)
        total += count
    return total


def _proteins(folder: ScoreFolder) -> Iterator[tuple[Row, list[Row]]]:
    """Yield each scored protein with its annotations, in input order."""
    for index in range(folder.manifest().n_parts):
        by_accession: defaultdict[str, list[Row]] = defaultdict(list)
        for row in folder.read("annotations", index).iter_rows(named=True):
            by_accession[row["accession"]].append(row)
        for protein in folder.read("proteins", index).iter_rows(named=True):
            yield protein, by_accession.pop(protein["accession"], [])


# GFF3: https://github.com/The-Sequence-Ontology/Specifications/blob/master/gff3.md (version 1.26)

_SEQID_SAFE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:^*$@!+_?-|"


def _gff3(folder: ScoreFolder) -> Iterator[tuple[str, int]]:
    yield "##gff-version 3\n", 0
    for protein, rows in _proteins(folder):
        seqid = _gff3_seqid(protein["accession"])
        lines = [f"##sequence-region {seqid} 1 {protein['length']}\n"]
        lines += [_gff3_line(seqid, row) for row in rows]
        yield "".join(lines), len(rows)


def _gff3_line(seqid: str, row: Row) -> str:
    so_term = SO_TERMS[column_of(row["concept"])]
    attributes = {
        "Name": [row["concept"]],
        "Note": [_precision_in_words(row)],
        "precision": _number(row["precision"]),
        "precision_low": _number(row["precision_low"]),
        "probability": _number(row["probability"]),
        "latents": [str(latent) for latent in row["latents"]],
        "implied": list(row["implied"]),
        "model": [row["model_uri"]],
    }
    text = ";".join(
        f"{tag}={','.join(map(_gff3_escape, values))}"
        for tag, values in attributes.items()
        if values
    )
    # No strand and no phase: these are proteins.
    cells = (seqid, "plmsae", so_term, row["start"], row["end"], f"{row['score']:.4g}")
    return "\t".join(map(str, (*cells, ".", ".", text))) + "\n"


def _gff3_seqid(accession: str) -> str:
    raw = accession.encode("utf-8", "backslashreplace")
    return "".join(chr(byte) if chr(byte) in _SEQID_SAFE else f"%{byte:02X}" for byte in raw)


def _gff3_escape(text: str) -> str:
    def escaped(char: str) -> str:
        return f"%{ord(char):02X}" if ord(char) < 32 or char in "\x7f%;=&," else char

    return "".join(map(escaped, text))


def _precision_in_words(row: Row) -> str:
    if row["precision"] is None:
        return "predicted; precision not measured"
    low = (
        "" if row["precision_low"] is None else f" (95 % interval from {row['precision_low']:.2f})"
    )
    return f"predicted; precision {row['precision']:.2f}{low} on held-out families"


def _number(value: float | None) -> list[str]:
    return [] if value is None else [f"{value:.4g}"]


# TSV in the columns of UniProt's export.


def _tsv(folder: ScoreFolder) -> Iterator[tuple[str, int]]:
    yield "\t".join(("Entry", "Length", *SO_TERMS)) + "\n", 0
    for protein, rows in _proteins(folder):
        cells: defaultdict[str, list[Feature]] = defaultdict(list)
        for row in rows:
            # Inferred by a model, not by a curator: ECO:0000256 is UniProt's own code for that.
            evidence = f"ECO:0000256|plmsae:{row['model_uri']}"
            feature = as_feature(row["concept"], row["start"], row["end"], evidence=evidence)
            cells[column_of(row["concept"])].append(feature)
        values = [protein["accession"], str(protein["length"])]
        values += [render_features(cells.get(column, ())) for column in SO_TERMS]
        yield "\t".join(" ".join(value.split()) for value in values) + "\n", len(rows)


# JSON lines.


def _jsonl(folder: ScoreFolder) -> Iterator[tuple[str, int]]:
    for protein, rows in _proteins(folder):
        shown = [{k: _json_value(v) for k, v in row.items() if k != "accession"} for row in rows]
        yield _json_line({**protein, "annotations": shown}), len(rows)
    for index in range(folder.manifest().n_parts):
        for row in folder.read("rejected", index).iter_rows(named=True):
            yield _json_line({**row, "status": "rejected"}), 0


def _json_value(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _json_line(value: Row) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


_WRITERS: dict[str, Callable[[ScoreFolder], Iterator[tuple[str, int]]]] = {
    "gff3": _gff3,
    "tsv": _tsv,
    "jsonl": _jsonl,
}
