"""A table with one line per annotation, with score and precision.

The columns are those of the Parquet files; `plmsae.concepts.labels.label_table.read_labels` reads
it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from plmsae.scoring.exporter import Exporter, scored_proteins
from plmsae.scoring.folder import ScoreFolder
from plmsae.scoring.schema import ANNOTATIONS


def _tsv(folder: ScoreFolder) -> Iterator[tuple[str, int]]:
    yield "\t".join(ANNOTATIONS.names) + "\n", 0
    for _, rows in scored_proteins(folder):
        for row in rows:
            yield "\t".join(_cell(row[name]) for name in ANNOTATIONS.names) + "\n", 1


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ";".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())


EXPORTER = Exporter(suffixes=(".tsv",), lines=_tsv)
