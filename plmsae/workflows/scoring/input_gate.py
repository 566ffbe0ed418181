"""The quality gate on the proteins of an input, and where its pages go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from plmsae.core.errors import InputError
from plmsae.core.object_store import is_remote
from plmsae.proteins.stream import is_stream, source_name
from plmsae.tracking.runs import Run
from plmsae.workflows.shared.inputs import gate
from plmsae.workflows.shared.progress import Progress, step

if TYPE_CHECKING:
    import polars as pl

    from plmsae.scoring.spool import Spool
    from plmsae.workflows.shared.requests import FillRequest, ScoreRequest


def quality_folder(out: str | Path, stage: str) -> Path:
    """Return where a gate's pages go: beside the score folder, which holds nothing else."""
    return beside(out, "quality") / stage


def beside(out: str | Path, ending: str) -> Path:
    """Return a path next to the score folder, named after it: ``out-ending``.

    Of a folder in an object store it is in ``runs`` of the working folder.
    """
    if is_remote(out):
        return Path("runs", f"{PurePosixPath(out).name}-{ending}")
    out = Path(out)
    if out.name in ("", ".."):
        out = out.resolve()
    return out.with_name(f"{out.name}-{ending}")


def refuse_working_folder(out: str | Path) -> None:
    """Refuse the working folder, or one above it, as output: MLflow's database lies there.

    Raises
    ------
    InputError
        If `out` is such a folder.
    """
    if not is_remote(out) and Path.cwd().is_relative_to(Path(out).resolve()):
        raise InputError(
            "the output needs a folder of its own, not the working folder or one above it",
            where="--out",
            value=str(out),
            hint="name a new folder, for example --out annotated",
        )


@contextmanager
def parsed_input(source: str, request: ScoreRequest, progress: Progress) -> Iterator[str | Spool]:
    """Parse a file, before a run is opened for it.

    Parameters
    ----------
    source : str
        The input; a pipe cannot be looked through before it is scored.
    request : ScoreRequest
        Says whether to stop at the first record that cannot be used.

    Yields
    ------
    str or Spool
        The records; of a pipe, `source`.

    Raises
    ------
    InputError
        If the file is damaged, or none of its records can be used.
    """
    if is_stream(source):
        yield source
        return
    from plmsae.scoring.parts import PART_RESIDUES
    from plmsae.scoring.spool import spooled

    with ExitStack() as stack:
        with step(progress, "reading input"):
            spool = stack.enter_context(spooled(source, PART_RESIDUES, strict=request.strict))
            refuse_if_none(source, spool)
        yield spool


@contextmanager
def parsed_table(request: FillRequest, progress: Progress) -> Iterator[tuple[Spool, pl.DataFrame]]:
    """Parse the table of a request once, before a run is opened for it.

    Yields
    ------
    Spool
        Its records.
    polars.DataFrame
        Its rows, as `read_table` gives them.

    Raises
    ------
    InputError
        If the table is damaged, or none of its records can be used.
    """
    from plmsae.scoring.parts import PART_RESIDUES
    from plmsae.scoring.spool import spooled_table

    with ExitStack() as stack:
        with progress.task("reading input") as task:
            spool, table = stack.enter_context(
                spooled_table(request.table, PART_RESIDUES, strict=request.strict)
            )
            refuse_if_none(request.table, spool)
            task.update(1, 1)
        yield spool, table


def check_input(
    parsed: str | Spool,
    source: str,
    request: ScoreRequest | FillRequest,
    tracked: Run,
    progress: Progress,
) -> dict[str, Any]:
    """Put the proteins of an input through their gate; the page is an artifact of `tracked`.

    Parameters
    ----------
    parsed : str or Spool
        What `parsed_input` gave; a pipe is not checked.
    source : str
        The input, as the page names it.
    request : ScoreRequest or FillRequest
        Says whether to check at all, and the folder of the run, beside which the page goes.

    Returns
    -------
    dict
        Verdicts by kind of table; empty if nothing was checked.

    Raises
    ------
    QualityError
        If the proteins fail a critical expectation.
    """
    if isinstance(parsed, str) or not request.validate:
        return {}
    with step(progress, "checking input"):
        page = quality_folder(request.out, "input")
        context = {"rejected": parsed.rejected}
        report = gate("proteins", parsed.proteins, page, context, tracked, name=source)
    return {report.kind: report.verdicts()}


def refuse_if_none(source: str, spool: Spool) -> None:
    """Raise `InputError` with the first reason if every record of an input was rejected."""
    import polars as pl

    if not spool.survey.n_proteins:
        first = pl.read_parquet(spool.rejected, n_rows=1).row(0, named=True)
        raise InputError(
            f"no record can be used, of {spool.survey.n_read:,}; the first: {first['reason']} "
            f"({first['where']})",
            where=source_name(source),
        )
