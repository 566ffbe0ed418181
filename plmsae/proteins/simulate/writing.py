"""A simulated proteome: its tables, and the same as files in the formats of real data."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from plmsae.core.atomic import atomic_path, write_json
from plmsae.proteins.simulate.config import SimulateConfig
from plmsae.proteins.simulate.decoys import DECOYS
from plmsae.proteins.simulate.labels import FEATURE_COLUMNS
from plmsae.proteins.simulate.motifs import MOTIFS

_WRAP = 60


@dataclass(frozen=True, kw_only=True)
class SimulatedProteome:
    """What `simulate` returns. Positions are 1-based and include both ends.

    Attributes
    ----------
    config : SimulateConfig
    table : polars.DataFrame
        One row per protein in the columns of a UniProt export, with ``Cluster ID`` (the family)
        added; hidden labels, and the GO terms and EC numbers that only they imply, are missing.
    truth : polars.DataFrame
        The same with every label.
    hidden : polars.DataFrame
        The labels that `table` lacks: ``accession``, ``start``, ``end``, ``column`` (UniProt
        header), ``key``, ``note`` (without running numbers), ``concept`` (``column: note``),
        ``source`` (motif or domain) and ``learnable`` (whether `table` still shows the concept in
        a training family; where not, nobody can be blamed for missing it).
    decoys : polars.DataFrame
        Stretches that look like a motif and are not: ``accession``, ``start``, ``end``, ``decoy``,
        ``imitates``. ``lost_...`` are motifs that a part of a family has lost.
    split : polars.DataFrame
        ``accession``, ``family`` and ``split`` (``train`` or ``heldout``); no family in both.
    families : polars.DataFrame
        ``family``, ``split``, ``anchor``, ``place``, ``architecture`` (list of names from N to C
        terminus), ``members`` and ``ancestor`` (its sequence).
    """

    config: SimulateConfig
    table: pl.DataFrame
    truth: pl.DataFrame
    hidden: pl.DataFrame
    decoys: pl.DataFrame
    split: pl.DataFrame
    families: pl.DataFrame

    def summary(self) -> dict[str, Any]:
        """Return configuration, counts, motif patterns and family architectures, ready for JSON."""
        truth, hidden = self.truth, self.hidden
        labels = {
            column: int(truth[column].str.count_matches(r"[A-Z_]+ \d+(\.\.\d+)?(;|$)").sum() or 0)
            for column in FEATURE_COLUMNS
        }
        return {
            "config": asdict(self.config),
            "counts": {
                "families": self.families.height,
                "families_by_split": _counts(self.families["split"]),
                "proteins": truth.height,
                "proteins_by_split": _counts(self.split["split"]),
                "residues": int(truth["Length"].sum()),
                "labels": {column: count for column, count in labels.items() if count},
                "hidden": _counts(hidden["concept"]),
                "hidden_sources": hidden.select("accession", "source").n_unique(),
                "decoys": _counts(self.decoys["decoy"]),
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
            "families": self.families.to_dicts(),
        }

    def write(self, folder: Path | str) -> None:
        """Write the proteome as files; equal proteomes give equal bytes.

        ====================== ====================================================================
        ``proteome.fasta.gz``  all sequences
        ``train.fasta.gz``     those of training families
        ``heldout.fasta.gz``   those of held-out families
        ``annotations.tsv.gz`` what is known, as a UniProt export: hidden labels are missing
        ``truth.tsv.gz``       the same with all labels
        ``hidden.tsv.gz``      the labels that were hidden, one per row
        ``decoys.tsv.gz``      stretches that look like a motif and are not
        ``truth.json``         configuration, counts, patterns, architectures; written last
        ====================== ====================================================================

        Parameters
        ----------
        folder : Path
            Created if it is missing; other files in it are left alone.
        """
        folder = Path(folder)
        heldout = set(self.split.filter(pl.col("split") == "heldout")["accession"])
        columns = ("Entry", "Protein names", "Sequence")
        rows = list(zip(*(self.table[column].to_list() for column in columns), strict=True))
        _gzip(folder / "proteome.fasta.gz", _fasta(rows))
        _gzip(folder / "train.fasta.gz", _fasta(row for row in rows if row[0] not in heldout))
        _gzip(folder / "heldout.fasta.gz", _fasta(row for row in rows if row[0] in heldout))
        for name in ("annotations", "truth", "hidden", "decoys"):
            frame = self.table if name == "annotations" else getattr(self, name)
            # UniProt quotes nothing: the quotes in its cells are part of the feature syntax.
            _gzip(folder / f"{name}.tsv.gz", frame.write_csv(separator="\t", quote_style="never"))
        write_json(folder / "truth.json", self.summary())


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
