"""A simulated proteome as files, in the formats of real data."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from plmsae.core.atomic import atomic_path, write_json
from plmsae.proteins.simulate.decoys import DECOYS
from plmsae.proteins.simulate.labels import FEATURE_COLUMNS
from plmsae.proteins.simulate.motifs import MOTIFS

if TYPE_CHECKING:
    from plmsae.proteins.simulate.proteome import SimulatedProteome

_WRAP = 60


def write(proteome: SimulatedProteome, folder: Path) -> None:
    """Write a simulated proteome; equal proteomes give equal bytes.

    ====================== ====================================================================
    ``proteome.fasta.gz``  all sequences
    ``train.fasta.gz``     those of training families
    ``heldout.fasta.gz``   those of held-out families
    ``annotations.tsv.gz`` what is known, as a UniProt export: hidden labels are missing
    ``truth.tsv.gz``       the same with all labels
    ``hidden.tsv.gz``      the labels that were hidden, one a row
    ``decoys.tsv.gz``      stretches that look like a motif and are not
    ``truth.json``         configuration, counts, patterns, architectures; written last
    ====================== ====================================================================

    Parameters
    ----------
    proteome : SimulatedProteome
    folder : Path
        Created if it is missing; other files in it are left alone.
    """
    heldout = set(proteome.split.filter(pl.col("split") == "heldout")["accession"])
    columns = ("Entry", "Protein names", "Sequence")
    rows = list(zip(*(proteome.table[column].to_list() for column in columns), strict=True))
    _gzip(folder / "proteome.fasta.gz", _fasta(rows))
    _gzip(folder / "train.fasta.gz", _fasta(row for row in rows if row[0] not in heldout))
    _gzip(folder / "heldout.fasta.gz", _fasta(row for row in rows if row[0] in heldout))
    for name in ("annotations", "truth", "hidden", "decoys"):
        frame = proteome.table if name == "annotations" else getattr(proteome, name)
        # UniProt quotes nothing: the quotes in its cells are part of the feature syntax.
        _gzip(folder / f"{name}.tsv.gz", frame.write_csv(separator="\t", quote_style="never"))
    write_json(folder / "truth.json", summary(proteome))


def summary(proteome: SimulatedProteome) -> dict[str, Any]:
    """Return the configuration, counts, motif patterns and family architectures, ready for JSON."""
    truth, hidden = proteome.truth, proteome.hidden
    labels = {
        column: int(truth[column].str.count_matches(r"[A-Z_]+ \d+(\.\.\d+)?(;|$)").sum() or 0)
        for column in FEATURE_COLUMNS
    }
    return {
        "config": asdict(proteome.config),
        "counts": {
            "families": proteome.families.height,
            "families_by_split": _counts(proteome.families["split"]),
            "proteins": truth.height,
            "proteins_by_split": _counts(proteome.split["split"]),
            "residues": int(truth["Length"].sum()),
            "labels": {column: count for column, count in labels.items() if count},
            "hidden": _counts(hidden["concept"]),
            "hidden_sources": hidden.select("accession", "source").n_unique(),
            "decoys": _counts(proteome.decoys["decoy"]),
        },
        "motifs": {
            name: {
                "pattern": motif.pattern,
                "repeat": list(motif.repeat),
                "kind": motif.kind,
                "columns": sorted({mark.column for mark in motif.marks}),
            }
            for name, motif in MOTIFS.items()
        },
        "decoys": {
            name: {"pattern": decoy.pattern, "imitates": decoy.imitates}
            for name, decoy in DECOYS.items()
        },
        "families": proteome.families.to_dicts(),
    }


def _counts(column: pl.Series) -> dict[str, int]:
    return dict(sorted(Counter(column.to_list()).items()))


def _fasta(rows: Iterable[tuple[str, str, str]]) -> str:
    lines: list[str] = []
    for accession, name, sequence in rows:
        lines.append(f">{accession} {name}")
        lines += [sequence[i : i + _WRAP] for i in range(0, len(sequence), _WRAP)]
    return "".join(f"{line}\n" for line in lines)


def _gzip(path: Path, text: str) -> None:
    # No time and no name in the header, so that equal content gives equal bytes.
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=6, mtime=0))
