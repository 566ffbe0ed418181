"""Score folders in the formats of `scoring.exporters`.

All stream part by part in input order, and a file appears whole or not at all.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from plmsae.core.atomic import atomic_path
from plmsae.scoring.exporter import find_exporter
from plmsae.scoring.folder import ScoreFolder


def export(out_dir: str | Path, format: str, target: str | Path) -> int:
    """Write the annotations of a complete score folder in another format.

    Parameters
    ----------
    out_dir : str or Path
        A folder that `plmsae.scoring.engine.score` completed.
    format : str
        Name of a module of `scoring.exporters`: ``gff3``, ``jsonl``, ``tsv``, ``uniprot``.
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
    exporter = find_exporter(format)
    folder = ScoreFolder(out_dir)
    folder.manifest()
    lines = exporter.lines(folder)
    if str(target) == "-":
        return _write_to_stdout(lines)
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


def _write_to_stdout(lines: Iterable[tuple[str, int]]) -> int:
    """Write UTF-8 whatever the locale says: the accessions of a file are no matter of it."""
    sys.stdout.flush()
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:  # replaced by something that takes text
        return _write(sys.stdout, lines)
    handle = io.TextIOWrapper(binary, encoding="utf-8", newline="\n")
    try:
        return _write(handle, lines)
    finally:
        handle.detach()  # flushes, and leaves the stream open for whatever is printed next
