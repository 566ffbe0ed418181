"""The quality gate on the proteins of an input, and where its pages go."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from plmsae.core.errors import InputError
from plmsae.proteins.reading import read_proteins
from plmsae.proteins.records import Protein, Rejected
from plmsae.tracking.runs import Run
from plmsae.workflows.shared.inputs import ProteinSet, gate
from plmsae.workflows.shared.progress import Progress

if TYPE_CHECKING:
    import polars as pl

#: Proteins in one part of the table that the input gate reads.
GATE_PART = 20_000


def quality_folder(out: Path, stage: str) -> Path:
    """Return where a gate's pages go: beside the score folder, which holds nothing else."""
    return out.with_name(f"{out.name}-quality") / stage


def check_input(source: str, out: Path, tracked: Run, progress: Progress, *, strict: bool) -> None:
    """Put the proteins of a file through their gate; the page is an artifact of `tracked`.

    Raises
    ------
    InputError
        If the file is damaged, or none of its records can be used.
    QualityError
        If the proteins fail a critical expectation.
    """
    with tempfile.TemporaryDirectory() as scratch, progress.task("checking input") as task:
        context = write_gate_parts(source, Path(scratch), strict=strict)
        refuse_if_none(source, Path(scratch) / "proteins", context["rejected"])
        gate(
            "proteins",
            Path(scratch) / "proteins",
            quality_folder(out, "input"),
            context,
            tracked,
            name=source,
        )
        task.update(1, 1)


def refuse_if_none(source: str, proteins: Path, rejected: pl.DataFrame) -> None:
    """Raise `InputError` with the first reason if every record of an input was rejected."""
    import polars as pl

    if rejected.height and not pl.scan_parquet(proteins).select(pl.len()).collect().item():
        first = rejected.row(0, named=True)
        raise InputError(
            f"no record can be used, of {rejected.height:,}; the first: {first['reason']} "
            f"({first['where']})",
            where=source,
        )


def write_gate_parts(source: str, folder: Path, *, strict: bool) -> dict[str, pl.DataFrame]:
    """Write an input as Parquet parts for the gate; return the gate's context."""
    proteins: list[Protein] = []
    rejected: list[Rejected] = []
    target = folder / "proteins"
    target.mkdir()
    number = 0

    def write() -> None:
        part = ProteinSet(source=source, proteins=tuple(proteins), rejected=(), n_read=0)
        part.frame().write_parquet(target / f"part-{number:05d}.parquet")
        proteins.clear()

    for record in read_proteins(source, strict=strict):
        if isinstance(record, Rejected):
            rejected.append(record)
            continue
        proteins.append(record)
        if len(proteins) == GATE_PART:
            write()
            number += 1
    write()
    left_out = ProteinSet(source=source, proteins=(), rejected=tuple(rejected), n_read=0)
    return {"rejected": left_out.rejected_frame()}
