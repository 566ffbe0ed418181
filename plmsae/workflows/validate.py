"""Check a table, or what was scored or filled, against the reviewed suites."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from plmsae.core.errors import InputError, QualityError, printable
from plmsae.core.json_files import read_json
from plmsae.core.object_store import is_remote
from plmsae.core.resources import READY
from plmsae.proteins.stream import need_file
from plmsae.scoring.folder import ScoreFolder
from plmsae.tracking.runs import start_run
from plmsae.workflows.scoring.running import run_facts
from plmsae.workflows.shared.inputs import FailedGate, gate, has_sequences
from plmsae.workflows.shared.progress import Progress, step
from plmsae.workflows.shared.requests import ValidateRequest, request_params

if TYPE_CHECKING:
    import polars as pl

    from plmsae.quality.report import ValidationReport

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ValidateOutcome:
    """What the checks found; where a critical expectation failed, it comes with the error."""

    report: ValidationReport

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data: the verdict, and the state of every expectation by name."""
        return self.report.verdicts()

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
    kind = request.kind or _kind_of(request.path)
    with ExitStack() as stack, step(progress, f"checking {kind}"):
        table, context = _open(kind, request, stack)
        tracked = stack.enter_context(
            start_run(
                experiment="plmsae-validate",
                run_name=f"validate {printable(PurePath(request.path).name)}",
                params=request_params(request, kind=kind),
            )
        )
        try:
            report = gate(kind, table, request.out / kind, context, tracked, name=request.path)
        except QualityError as error:
            if isinstance(error.outcome, FailedGate):
                error.outcome = ValidateOutcome(report=error.outcome.report)
            raise
    return ValidateOutcome(report=report)


def _kind_of(where: str) -> str:
    """Tell what a path holds: folders by what `score` and `fill` write, files are proteins."""
    if is_remote(where):
        return "annotations" if ScoreFolder(where).names("annotations") else "proteins"
    path = Path(where)
    if (path / "proposals").is_dir():
        return "proposals"
    if (path / "annotations").is_dir():
        return "annotations"
    if path.is_dir():
        raise InputError(
            "neither a score nor a fill folder", where=path, hint="give --kind, or another path"
        )
    return "proteins"


def _open(kind: str, request: ValidateRequest, stack: ExitStack) -> tuple[Any, dict[str, Any]]:
    """Return the table to check and what it is compared with."""
    from plmsae.scoring.parts import PART_RESIDUES
    from plmsae.scoring.spool import spooled

    path = Path(request.path)
    if kind in ("annotations", "proposals"):
        context = _controls(request, stack)
        if is_remote(request.path):
            path = stack.enter_context(ScoreFolder(request.path).on_disk())
        if not path.is_dir():
            return path, context | _registered(request.model, None)
        scores = path
        if kind == "proposals":
            scores = path / "scores"
            context |= _asked(path / "manifest.json")
        context |= {"proteins": scores / "proteins", "rejected": scores / "rejected"}
        manifest = scores / "manifest.json"
        context |= _registered(request.model, manifest if manifest.is_file() else None)
        return path / kind, context
    if kind == "labels":
        labels, proteins = _labels(path)
        return labels, {} if proteins is None else {"proteins": proteins}
    spool = stack.enter_context(spooled(request.path, PART_RESIDUES))
    return spool.proteins, {"rejected": spool.rejected}


def _asked(manifest: Path) -> dict[str, pl.DataFrame]:
    """Return the precision that a fill run was asked for; nothing where it does not say."""
    import polars as pl

    if not manifest.is_file():
        logger.warning("%s is missing: proposals are held against a precision of 0.5", manifest)
        return {}
    stored = read_json(manifest).get("min_precision")
    if not isinstance(stored, int | float) or not 0 <= stored <= 1:
        raise InputError("min_precision is no number in [0, 1]", where=manifest, value=str(stored))
    return {"asked": pl.DataFrame({"min_precision": [float(stored)]})}


def _labels(path: Path) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Read labels, and the lengths of their proteins where the table has sequences."""
    from plmsae.concepts.labels.label_table import labels_from_uniprot, read_labels
    from plmsae.proteins.uniprot import read_table

    need_file(path, why="what a label table is shows from its first line")
    if has_sequences(str(path)):
        table = read_table(path)
        return labels_from_uniprot(table), table.select("accession", "length")
    return read_labels(path), None


def _controls(request: ValidateRequest, stack: ExitStack) -> dict[str, Any]:
    """Return the tables that the request names for calls to be compared with."""
    from plmsae.scoring.parts import PART_RESIDUES
    from plmsae.scoring.spool import spooled

    context: dict[str, Any] = {}
    if request.proteins is not None:
        spool = stack.enter_context(spooled(request.proteins, PART_RESIDUES))
        context |= {"sequences": spool.proteins, "proteins": spool.proteins}
    if request.labels is not None:
        context["labels"], _ = _labels(Path(request.labels))
    return context


def _registered(model: str | None, manifest: Path | None) -> dict[str, Any]:
    """Return the model's concepts, and the facts of the run beside those of the registry.

    Of a model that is no registered version the manifest has a fingerprint only; it is known if it
    is that of the model that ships.

    Raises
    ------
    InputError
        If a model is named and is not registered. One that only the manifest names may be.
    """
    import polars as pl

    from plmsae.registry.models import recorded_tags, resolve_exactly, version_tags
    from plmsae.scoring.manifest import Manifest

    used = None if manifest is None else Manifest.read(manifest)
    if model is None and used is None:
        return {}
    reference = model or str(used and used.model_uri)
    registered = model is not None or reference.startswith("models:/")
    try:
        bundle, uri = resolve_exactly(reference if registered else READY)
    except InputError as error:
        if model is not None:
            raise
        logger.warning("the model of the calls cannot be compared with the registry: %s", error)
        return {}
    if not registered and reference != uri:
        logger.warning(
            "%s is no registered version: name its folder or version with --model, or the calls "
            "are not compared with it",
            reference,
        )
        return {}
    if used is None:
        facts = pl.DataFrame({"fact": ["model"], "used": [uri], "registered": [uri]})
    else:
        facts = run_facts(used, uri, recorded_tags(uri) or version_tags(bundle))
    return {"concepts": bundle.concepts, "registered": facts}
