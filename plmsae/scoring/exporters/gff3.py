"""GFF3 1.26, one line per annotation."""

from __future__ import annotations

from collections.abc import Iterator

from plmsae.scoring.exporter import Exporter, Row, scored_proteins
from plmsae.scoring.folder import ScoreFolder
from plmsae.scoring.uniprot_names import so_term

# GFF3: https://github.com/The-Sequence-Ontology/Specifications/blob/master/gff3.md (version 1.26)

#: How many latents a line names; the Parquet files have all.
SHOWN_LATENTS = 3

_SEQID_SAFE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:^*$@!+_?-|"


def _gff3(folder: ScoreFolder) -> Iterator[tuple[str, int]]:
    yield "##gff-version 3\n", 0
    for protein, rows in scored_proteins(folder):
        seqid = _gff3_seqid(protein["accession"])
        lines = [f"##sequence-region {seqid} 1 {protein['length']}\n"]
        lines += [_gff3_line(seqid, row, number) for number, row in enumerate(rows, 1)]
        yield "".join(lines), len(rows)


def _gff3_line(seqid: str, row: Row, number: int) -> str:
    term = so_term(row["concept"])
    attributes = {
        "ID": [f"{row['accession']}:{number}"],
        "Name": [row["concept"]],
        "Note": [_precision_in_words(row)],
        "Ontology_term": [term.modification] if term.modification else [],
        "precision": _number(row["precision"]),
        "precision_low": _number(row["precision_low"]),
        "probability": _number(row["probability"]),
        "latents": [str(latent) for latent in row["latents"][:SHOWN_LATENTS]],
        "implied": list(row["implied"]),
        "model": [row["model_uri"]],
    }
    text = ";".join(
        f"{tag}={','.join(map(_gff3_escape, values))}"
        for tag, values in attributes.items()
        if values
    )
    # No strand and no phase: these are proteins.
    cells = (seqid, "plmsae", term.name, row["start"], row["end"], f"{row['score']:.4g}")
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
    low = row["precision_low"]
    interval = "" if low is None else f" (95 % interval from {_share(low)})"
    return f"predicted; precision {_share(row['precision'])}{interval} on held-out proteins"


def _share(value: float) -> str:
    return f"{value:.2f}" if value >= 0.01 or not value else "below 0.01"


def _number(value: float | None) -> list[str]:
    return [] if value is None else [f"{value:.4g}"]


EXPORTER = Exporter(suffixes=(".gff3", ".gff"), lines=_gff3)
