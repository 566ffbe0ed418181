"""Annotate a proteome with a registered model, between quality gates."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from plmsae.bundle import Bundle
from plmsae.errors import InputError
from plmsae.proteins.reading import read_proteins
from plmsae.proteins.records import Protein, Rejected
from plmsae.proteins.stream import is_stream, source_name
from plmsae.registry import resolve_exactly
from plmsae.tracking import Run, start_run
from plmsae.workflows.inputs import ProteinSet, gate
from plmsae.workflows.progress import Progress, Task
from plmsae.workflows.requests import ScoreRequest

if TYPE_CHECKING:
    import polars as pl

    from plmsae.scoring.engine import OnProgress
    from plmsae.scoring.engine import Progress as ScoreProgress
    from plmsae.scoring.manifest import Manifest

#: Proteins in one part of the table that the input gate reads.
GATE_PART = 20_000


@dataclass(frozen=True, kw_only=True)
class ScoreOutcome:
    """What was annotated, and where it lies."""

    folder: Path
    model_uri: str
    n_read: int
    n_scored: int
    n_rejected: int
    n_residues: int
    n_annotations: int
    exported: Path | None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "folder": str(self.folder),
            "model": self.model_uri,
            "n_read": self.n_read,
            "n_scored": self.n_scored,
            "n_rejected": self.n_rejected,
            "n_residues": self.n_residues,
            "n_annotations": self.n_annotations,
            "exported": str(self.exported) if self.exported else None,
        }

    def lines(self) -> list[str]:
        """Return it in words."""
        lines = [
            f"{self.n_scored:,} proteins scored ({self.n_residues:,} residues), "
            f"{self.n_annotations:,} annotations by {self.model_uri}",
            f"written to {self.folder}",
        ]
        if self.n_rejected:
            where = self.folder / "rejected"
            records = "1 record" if self.n_rejected == 1 else f"{self.n_rejected:,} records"
            lines.insert(1, f"{records} rejected, with reasons in {where}")
        if self.exported:
            lines.append(f"exported to {self.exported}")
        return lines


def run(request: ScoreRequest, progress: Progress) -> ScoreOutcome:
    """Score every protein of the input; see `plmsae.scoring.engine.score`.

    Raises
    ------
    InputError
        If the input, the model or the output folder is wrong.
    QualityError
        If the proteins or the annotations fail a critical expectation.
    """
    from plmsae.scoring.engine import check_arguments, score

    refuse_working_folder(request.out)
    check_arguments(request.out, min_precision=request.min_precision)
    check_device(request.device)
    bundle, uri = resolve_exactly(request.model)
    with start_run(
        experiment="plmsae-score",
        run_name=f"score {PurePath(source_name(request.proteins)).name}",
        params={"proteins": request.proteins, "model": uri, "out": str(request.out)},
    ) as tracked:
        if request.validate and not is_stream(request.proteins):
            check_input(request.proteins, request.out, tracked, progress, strict=request.strict)
        with progress.task(f"scoring with {bundle.name}") as task:
            manifest = score(
                request.proteins,
                bundle,
                request.out,
                model_uri=uri,
                encoder=None if request.device == "auto" else encoder_on(bundle, request.device),
                write_features=request.features,
                strict=request.strict,
                min_precision=request.min_precision,
                progress=shower(task),
            )
        tracked.log_metrics(0, counts(manifest))
        tracked.log_artifact(request.out / "manifest.json")
        if request.validate:
            context = {
                "proteins": request.out / "proteins",
                "rejected": request.out / "rejected",
                "concepts": bundle.concepts,
            }
            gate(
                "annotations",
                request.out / "annotations",
                quality_folder(request.out, "output"),
                context,
                tracked,
            )
        exported = None
        if request.format is not None:
            from plmsae.scoring.export import export

            name = {"gff3": "annotations.gff3", "jsonl": "annotations.jsonl"}
            exported = beside(request.out, name.get(request.format, "annotations.tsv"))
            kind: Any = request.format
            export(request.out, kind, exported)
    return ScoreOutcome(
        folder=request.out,
        model_uri=uri,
        n_read=manifest.n_read,
        n_scored=manifest.n_scored,
        n_rejected=manifest.n_rejected,
        n_residues=manifest.n_residues,
        n_annotations=manifest.n_annotations,
        exported=exported,
    )


def quality_folder(out: Path, stage: str) -> Path:
    """Return where a gate's pages go: beside the score folder, which holds nothing else."""
    return beside(out, "quality") / stage


def beside(out: Path, ending: str) -> Path:
    """Return a path next to the score folder, named after it: ``out-ending``."""
    if out.name in ("", ".."):
        out = out.resolve()
    return out.with_name(f"{out.name}-{ending}")


def refuse_working_folder(out: Path) -> None:
    """Refuse the working folder, or one above it, as output: MLflow's database lies there.

    Raises
    ------
    InputError
        If `out` is such a folder.
    """
    if Path.cwd().is_relative_to(out.resolve()):
        raise InputError(
            "the output needs a folder of its own, not the working folder or one above it",
            where="--out",
            value=str(out),
            hint="name a new folder, for example --out annotated",
        )


def check_device(device: str) -> None:
    """Refuse a device that is not there, before the input is read."""
    if device != "auto":
        from plmsae.plm.model import choose_device

        choose_device(device)


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
        context = spill(source, Path(scratch), strict=strict)
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

    if (
        rejected.height
        and not pl.scan_parquet(proteins, glob=False).select(pl.len()).collect().item()
    ):
        first = rejected.row(0, named=True)
        raise InputError(
            f"no record can be used, of {rejected.height:,}; the first: {first['reason']} "
            f"({first['where']})",
            where=source,
        )


def encoder_on(bundle: Bundle, device: str) -> Any:
    """Return a function that loads the bundle's encoder on a device when it is needed."""
    from plmsae.scoring.encoding import load_encoder

    chosen: Any = device
    return lambda: load_encoder(bundle, device=chosen)


def counts(manifest: Manifest) -> dict[str, float]:
    """Return a manifest's counts as metrics."""
    names = ("n_read", "n_scored", "n_rejected", "n_residues", "n_annotations")
    return {name: float(getattr(manifest, name)) for name in names}


def shower(task: Task) -> OnProgress:
    """Return a callback that shows residues done, proteins a second and what is left."""
    started = time.monotonic()

    def show(state: ScoreProgress) -> None:
        elapsed = max(time.monotonic() - started, 1e-6)
        fresh = state.residues - state.reused_residues
        share = fresh / max(state.residues, 1)
        rate = state.proteins * share / elapsed
        speed = f"{rate:,.0f} proteins/s" if fresh else "kept from an earlier run"
        note = f"{speed}  {state.annotations:,} annotations"
        task.update(state.residues, state.total_residues, note)

    return show


def spill(source: str, folder: Path, *, strict: bool) -> dict[str, pl.DataFrame]:
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
