"""JSON lines: one object a record, rejected records included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from plmsae.scoring.exporter import Exporter, Row, scored_proteins
from plmsae.scoring.folder import ScoreFolder


def _jsonl(folder: ScoreFolder) -> Iterator[tuple[str, int]]:
    for protein, rows in scored_proteins(folder):
        shown = [{k: _json_value(v) for k, v in row.items() if k != "accession"} for row in rows]
        yield _json_line({**protein, "annotations": shown}), len(rows)
    for index in range(folder.manifest().n_parts):
        for row in folder.read("rejected", index).iter_rows(named=True):
            yield _json_line({**row, "status": "rejected"}), 0


def _json_value(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _json_line(value: Row) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


EXPORTER = Exporter(suffixes=(".jsonl",), lines=_jsonl)
