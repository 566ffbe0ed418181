"""Annotate a proteome with a registered model, between quality gates."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from plmsae.core.object_store import is_remote
from plmsae.core.words import counted
from plmsae.proteins.stream import source_name
from plmsae.registry.lineage import log_used_version
from plmsae.registry.models import recorded_tags, resolve_exactly
from plmsae.tracking.run_inputs import log_data
from plmsae.tracking.runs import start_run
from plmsae.tracking.summary import log_summary
from plmsae.workflows.scoring.callable_concepts import refuse_if_none_callable
from plmsae.workflows.scoring.input_gate import (
    beside,
    check_input,
    parsed_input,
    quality_folder,
    refuse_working_folder,
)
from plmsae.workflows.scoring.running import (
    commonest,
    counts,
    encoder_of,
    nothing_found,
    own_labels,
    progress_callback,
    run_facts,
    scored_data,
    settings_of,
)
from plmsae.workflows.shared.device import check_device
from plmsae.workflows.shared.inputs import gate, quality_rows
from plmsae.workflows.shared.outcome import Outcome
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.ready import introduce
from plmsae.workflows.shared.requests import ScoreRequest, request_params
from plmsae.workflows.shared.threads import on_threads

if TYPE_CHECKING:
    from plmsae.bundle.reading import Bundle
    from plmsae.scoring.folder import ScoreFolder
    from plmsae.scoring.manifest import Manifest
    from plmsae.scoring.spool import Spool
    from plmsae.tracking.runs import Run

_ABOUT = (
    "Every protein of the input, annotated by a registered model. The tables (annotations, "
    "proteins, rejected) are in the folder below; the artifacts hold the manifest and the pages of "
    "the quality gates."
)


@dataclass(frozen=True, kw_only=True)
class ScoreOutcome(Outcome):
    """What was annotated, and where it lies."""

    folder: Path | str
    """A path, or text for a place in an object store."""
    model_uri: str
    n_read: int
    n_scored: int
    n_rejected: int
    n_residues: int
    n_annotations: int
    n_by_concept: Mapping[str, int]
    """Annotations of each concept that may be called."""
    abstained: Mapping[str, str]
    """The other concepts, each with the reason."""
    quality: Mapping[str, Any]
    """Verdicts on the input and the annotations, by kind of table, where they were checked."""
    exported: Path | None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**super().to_json(), "manifest": f"{self.folder}/manifest.json"}

    def table(self) -> list[tuple[str, str]]:
        """Return what to see first: what, and how much or where."""
        n_called = len(self.n_by_concept)
        return [
            ("model", self.model_uri),
            (
                "proteins",
                f"{self.n_scored:,} of {self.n_read:,} records, {self.n_residues:,} residues",
            ),
            ("annotations", f"{self.n_annotations:,}"),
            ("concepts that may be called", f"{n_called:,} of {n_called + len(self.abstained):,}"),
            *commonest(self.n_by_concept, "annotations"),
            *quality_rows(self.quality),
            ("tables", str(self.folder)),
            *([("exported", str(self.exported))] if self.exported else []),
        ]

    def lines(self) -> list[str]:
        """Return it in words."""
        lines = [
            f"{counted(self.n_scored, 'protein')} scored ({counted(self.n_residues, 'residue')}), "
            f"{counted(self.n_annotations, 'annotation')} by {self.model_uri}",
            f"written to {self.folder}",
        ]
        if not self.n_annotations and self.n_by_concept:
            lines.insert(1, nothing_found(self.n_by_concept))
        if self.abstained:
            n_called = len(self.n_by_concept)
            lines.insert(
                1,
                f"{n_called:,} of {n_called + len(self.abstained):,} concepts may be called; why "
                f"the others abstain is in {self.folder}/manifest.json",
            )
        if self.n_rejected:
            where = f"{self.folder}/rejected"
            records = counted(self.n_rejected, "record")
            lines.insert(1, f"{records} rejected, with reasons in {where}")
        if self.exported:
            lines.append(f"exported to {self.exported}")
        return lines


@on_threads
def run(request: ScoreRequest, progress: Progress) -> ScoreOutcome:
    """Score every protein of the input; see `plmsae.scoring.engine.score`.

    Raises
    ------
    InputError
        If the input, the model or the output folder is wrong, or no concept of the model can be
        called and `ScoreRequest.features` is not asked for.
    QualityError
        If the proteins or the annotations fail a critical expectation.
    """
    from plmsae.scoring.engine import check_arguments, identity_of, score
    from plmsae.scoring.executor import open_executor
    from plmsae.scoring.folder import ScoreFolder
    from plmsae.scoring.parts import PART_RESIDUES

    refuse_working_folder(request.out)
    check_arguments(request.out, min_precision=request.min_precision)
    check_device(request.device)
    executor = open_executor(request.engine, address=request.address, workers=request.workers)
    bundle, uri = resolve_exactly(request.model)
    introduce(request.model, bundle, progress)
    if not request.features:
        refuse_if_none_callable(bundle, request.min_precision, model=request.model)
    folder = ScoreFolder(request.out)
    identity = identity_of(
        bundle,
        model_uri=uri,
        part_residues=PART_RESIDUES,
        write_features=request.features,
        min_precision=request.min_precision,
        settings=settings_of(request),
    )
    with ExitStack() as stack:
        if not request.start_over:
            folder.check_run(identity)
        parsed = stack.enter_context(parsed_input(request.proteins, request, progress))
        if not (request.start_over or isinstance(parsed, str)):
            folder.check_run(identity, parsed.sha256)
        tracked = stack.enter_context(
            start_run(
                experiment="plmsae-score",
                system_metrics=True,
                run_name=f"score {PurePath(source_name(request.proteins)).name}",
                params=request_params(request, model=uri),
                folder=beside(request.out, "quality"),  # the score folder holds nothing else
            )
        )
        log_used_version(tracked, uri)
        quality = check_input(parsed, request.proteins, request, tracked, progress)
        with progress.task(f"scoring with {bundle.name}") as task:
            manifest = score(
                parsed,
                bundle,
                request.out,
                model_uri=uri,
                encoder=encoder_of(bundle, request),
                settings=settings_of(request),
                write_features=request.features,
                strict=request.strict,
                min_precision=request.min_precision,
                progress=progress_callback(task),
                executor=executor,
                resume=not request.start_over,
            )
        log_data(tracked, scored_data(manifest), "score")
        tracked.log_metrics(0, counts(manifest))
        tracked.log_text(folder.manifest_text(), "manifest.json")
        if request.validate:
            quality |= _check_output(request, parsed, folder, manifest, bundle, uri, tracked)
        exported = None if request.format is None else _export(request, request.format)
        outcome = ScoreOutcome(
            folder=folder.where if is_remote(request.out) else Path(request.out),
            model_uri=uri,
            n_read=manifest.n_read,
            n_scored=manifest.n_scored,
            n_rejected=manifest.n_rejected,
            n_residues=manifest.n_residues,
            n_annotations=manifest.n_annotations,
            n_by_concept=manifest.n_by_concept,
            abstained=manifest.abstained,
            quality=quality,
            exported=exported,
        )
        log_summary(tracked, f"Scored with {bundle.name}", _ABOUT, outcome.table())
    return outcome


def _check_output(
    request: ScoreRequest,
    parsed: str | Spool,
    folder: ScoreFolder,
    manifest: Manifest,
    bundle: Bundle,
    uri: str,
    tracked: Run,
) -> dict[str, Any]:
    """Put the annotations through their gate; return the verdicts by kind of table."""
    with folder.on_disk() as scored:
        context = {
            "proteins": scored / "proteins",
            "rejected": scored / "rejected",
            "concepts": bundle.concepts,
            "registered": run_facts(manifest, uri, recorded_tags(uri)),
            "sequences": None if isinstance(parsed, str) else parsed.proteins,
            "labels": own_labels(request.proteins, bundle, manifest.n_read),
        }
        page = quality_folder(request.out, "output")
        report = gate("annotations", scored / "annotations", page, context, tracked)
    return {report.kind: report.verdicts()}


def _export(request: ScoreRequest, form: str) -> Path:
    from plmsae.scoring.export import export
    from plmsae.scoring.exporter import find_exporter

    path = beside(request.out, f"annotations{find_exporter(form).suffixes[0]}")
    export(request.out, form, path)
    return path
