"""Check a table, or what was scored or filled, against the reviewed suites."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.core.errors import InputError, printable
from plmsae.core.settings import check_choices
from plmsae.proteins.stream import need_file
from plmsae.tracking.runs import start_run
from plmsae.workflows.shared.inputs import gate, has_sequences
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import ValidateRequest, request_params

if TYPE_CHECKING:
    from plmsae.quality.report import ValidationReport


@dataclass(frozen=True, kw_only=True)
class ValidateOutcome:
    """That all critical expectations are met; a failure is raised, not returned."""

    report: ValidationReport

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data: the verdict, and the state of every expectation by name."""
        report = self.report
        return {
            "kind": report.kind,
            "success": report.success,
            "verdict": report.verdict,
            "n_rows": report.n_rows,
            "expectations": {result.name: result.state for result in report.results},
            "summary": str(report.summary_path),
        }

    def lines(self) -> list[str]:
        """Return it in words."""
        report = self.report
        return [f"{report.kind}: {report.verdict}", f"report: {report.summary_path}"]


def run(request: ValidateRequest, progress: Progress) -> ValidateOutcome:
    """Validate; the Data Docs page is an MLflow artifact either way.

    Raises
    ------
    InputError
        If the path or the kind is wrong.
    QualityError
        If a critical expectation is not met.
    """
    path = Path(request.path)
    check_choices(request)
    kind = request.kind or _kind_of(path)
    with (
        start_run(
            experiment="plmsae-validate",
            run_name=f"validate {printable(path.name)}",
            params=request_params(request, kind=kind),
        ) as tracked,
        ExitStack() as stack,
        progress.task(f"checking {kind}") as task,
    ):
        table, context = _open(path, kind, stack)
        report = gate(kind, table, request.out / kind, context, tracked, name=request.path)
        task.update(1, 1)
    return ValidateOutcome(report=report)


def _kind_of(path: Path) -> str:
    """Tell what a path holds: folders by what `score` and `fill` write, files are proteins."""
    if (path / "proposals").is_dir():
        return "proposals"
    if (path / "annotations").is_dir():
        return "annotations"
    if path.is_dir():
        raise InputError(
            "neither a score nor a fill folder", where=path, hint="give --kind, or another path"
        )
    return "proteins"


def _open(path: Path, kind: str, stack: ExitStack) -> tuple[Any, dict[str, Any]]:
    """Return the table to check and what it is compared with."""
    from plmsae.concepts.labels.label_table import labels_from_uniprot, read_labels
    from plmsae.proteins.uniprot import read_table
    from plmsae.scoring.parts import PART_RESIDUES
    from plmsae.scoring.spool import spooled

    if kind in ("annotations", "proposals"):
        scores = path if kind == "annotations" else path / "scores"
        context = {"proteins": scores / "proteins", "rejected": scores / "rejected"}
        return path / kind, context
    if kind == "labels":
        need_file(path, why="what a label table is shows from its first line")
        if has_sequences(str(path)):
            table = read_table(path)
            return labels_from_uniprot(table), {"proteins": table.select("accession", "length")}
        return read_labels(path), {}
    spool = stack.enter_context(spooled(str(path), PART_RESIDUES))
    return spool.proteins, {"rejected": spool.rejected}
