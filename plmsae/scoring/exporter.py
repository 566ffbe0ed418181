"""What an export format declares, and how it reads a score folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from plmsae.core.errors import InputError
from plmsae.core.plugins import Plugins
from plmsae.scoring.folder import ScoreFolder

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """One export format; each module of `scoring.exporters` declares one as `EXPORTER`."""

    suffixes: tuple[str, ...]
    """Endings of the files, such as ``.gff3``; the first is that of files plmsae names itself."""
    lines: Callable[[ScoreFolder], Iterator[tuple[str, int]]]
    """Takes a complete score folder; yields stretches of the file's text, each with the number of
    annotations in it."""


EXPORTERS: Plugins[Exporter] = Plugins("plmsae.scoring.exporters", "EXPORTER")
"""By the name of the format."""


def find_exporter(format: str) -> Exporter:
    """Return the exporter of a format.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if format not in EXPORTERS:
        known = f"known: {', '.join(EXPORTERS)}"
        raise InputError("unknown export format", value=str(format), hint=known)
    return EXPORTERS[format]


def format_of(target: str) -> str:
    """Return the format that the ending of a file's name stands for.

    Raises
    ------
    InputError
        If it stands for none.
    """
    endings = {suffix: name for name, one in EXPORTERS.items() for suffix in one.suffixes}
    # The longest first: ``.uniprot.tsv`` also ends in ``.tsv``.
    for ending in sorted(endings, key=len, reverse=True):
        if target.lower().endswith(ending):
            return endings[ending]
    hint = f"give --format {'|'.join(EXPORTERS)}"
    raise InputError("cannot tell the format", where=target, hint=hint)


def scored_proteins(folder: ScoreFolder) -> Iterator[tuple[Row, list[Row]]]:
    """Yield each scored protein with its annotations, in input order."""
    for index in range(folder.manifest().n_parts):
        by_accession: defaultdict[str, list[Row]] = defaultdict(list)
        for row in folder.read("annotations", index).iter_rows(named=True):
            by_accession[row["accession"]].append(row)
        for protein in folder.read("proteins", index).iter_rows(named=True):
            yield protein, by_accession.pop(protein["accession"], [])
