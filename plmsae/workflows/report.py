"""Write reports on the best features of a model, by Claude where a key is set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from plmsae.core.errors import InputError, NotFoundError
from plmsae.proteins.stream import need_file, source_name
from plmsae.registry.models import resolve_exactly
from plmsae.tracking.runs import start_run
from plmsae.workflows.shared.inputs import is_table, read_protein_set
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import ReportRequest, request_params


@dataclass(frozen=True, kw_only=True)
class ReportOutcome:
    """Where the reports lie and who wrote them."""

    pages: dict[str, Path]
    """The file of each page by the page's name: ``html``, ``json``, ``markdown``, …"""
    n_features: int
    authors: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            **{name: str(path) for name, path in self.pages.items()},
            "n_features": self.n_features,
            "authors": self.authors,
        }

    def lines(self) -> list[str]:
        """Return it in words."""
        by = ", ".join(f"{count} by {author}" for author, count in self.authors.items())
        return [f"{self.n_features} features reported ({by})", f"written to {self.pages['html']}"]


def run(request: ReportRequest, progress: Progress) -> ReportOutcome:
    """Collect evidence on the top features and put it into words.

    Raises
    ------
    InputError
        If the model or the proteins are wrong, or a latent asked for is dead or does not exist.
    """
    import polars as pl

    from plmsae.reports.describe import describe_all
    from plmsae.reports.evidence import build_evidence
    from plmsae.reports.page import authors
    from plmsae.reports.render import render_reports
    from plmsae.scoring.encoding import load_encoder

    if request.n_features < 1 and not request.latents:
        raise InputError("at least one feature is to be reported", value=str(request.n_features))
    need_file(request.proteins, why="report reads it twice")
    bundle, uri = resolve_exactly(request.model)
    if bundle.meta.unit != "residue":
        raise InputError(
            "reports show stretches of sequence: they need a residue-level SAE",
            where=request.model,
            hint="plmsae score makes the calls of a protein-level one",
        )
    proteins = read_protein_set(
        request.proteins, max_proteins=request.max_proteins, seed=request.seed, progress=progress
    )
    accessions = [p.accession for p in proteins.proteins]
    labels = None
    if is_table(request.proteins):
        from plmsae.concepts.labels.label_table import labels_from_uniprot
        from plmsae.proteins.uniprot import read_table

        table = read_table(Path(request.proteins))
        labels = labels_from_uniprot(
            table.filter(pl.col("accession").is_in(pl.Series(accessions).implode()))
        )
    features = bundle.features
    if request.latents:
        features = features.filter(pl.col("latent").is_in(list(request.latents)))
        missing = set(request.latents) - set(features.filter(~pl.col("dead"))["latent"])
        if missing:
            raise NotFoundError("dead, or no such latent", where=uri, value=str(min(missing)))
    with start_run(
        experiment="plmsae-report",
        run_name=f"report {bundle.name}",
        params=request_params(request, model=uri),
    ) as tracked:
        device: Any = request.device
        encoder = load_encoder(bundle, device=device)
        with progress.task(f"encoding {len(accessions)} proteins") as task:
            latents = encoder.encode(proteins.sequences)
            task.update(1, 1)
        evidence = build_evidence(
            features,
            bundle.concepts,
            latents,
            accessions,
            proteins.sequences,
            labels,
            latents_to_report=len(request.latents) or request.n_features,
            descriptions={p.accession: p.description for p in proteins.proteins},
        )
        with progress.task("writing reports") as task:
            done = 0

            def count(_report: object) -> None:
                nonlocal done
                done += 1
                task.update(done, len(evidence))

            reports = describe_all(
                evidence,
                client=None if request.no_llm else "auto",
                model=request.llm,
                cache_dir=request.out / "cache",
                on_done=count,
            )
        about = {"model": uri, "proteins": PurePath(source_name(request.proteins)).name}
        pages = render_reports(reports, request.out, about=about)
        for path in pages.values():
            tracked.log_artifact(path, "report")
        tracked.log_metrics(0, {"n_reports": len(reports)})
    return ReportOutcome(
        pages=pages,
        n_features=len(reports),
        authors=authors(reports),
    )
