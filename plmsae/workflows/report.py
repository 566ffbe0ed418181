"""Write reports on the best features of a model, by Claude where a key is set, and test them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from plmsae.bundle.meta import QUALITY_WARNINGS
from plmsae.core.errors import InputError, NotFoundError
from plmsae.core.folders import only_writer
from plmsae.proteins.stream import need_file, source_name
from plmsae.registry.models import log_version_metrics, resolve_exactly
from plmsae.registry.pages import REPORTS, link_page
from plmsae.tracking.prompts import register_prompt
from plmsae.tracking.runs import Run, start_run
from plmsae.tracking.traces import trace_call
from plmsae.workflows.shared.inputs import check_proteins, gate, is_table, read_protein_set
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import ReportRequest, request_params
from plmsae.workflows.shared.threads import on_threads

if TYPE_CHECKING:
    from plmsae.bundle.reading import Bundle
    from plmsae.quality.report import ValidationReport
    from plmsae.reports.claude.asking import Outcome
    from plmsae.reports.describe import DryRun
    from plmsae.reports.evidence import FeatureEvidence


@dataclass(frozen=True, kw_only=True)
class ReportOutcome:
    """Where the reports lie, who wrote them, and how they fared when tested."""

    pages: dict[str, Path]
    """The file of each page by the page's name: ``html``, ``json``, ``markdown``, …; empty after a
    dry run."""
    n_features: int
    authors: dict[str, int]
    metrics: dict[str, float]
    """Numbers of tested and verified features, and median correlations."""
    dry_run: DryRun | None = None
    """What would be asked, of a dry run."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        from dataclasses import asdict

        return {
            **{name: str(path) for name, path in self.pages.items()},
            "n_features": self.n_features,
            "authors": self.authors,
            **self.metrics,
            **({"dry_run": asdict(self.dry_run)} if self.dry_run else {}),
        }

    def lines(self) -> list[str]:
        """Return it in words."""
        if self.dry_run is not None:
            return _dry_lines(self.dry_run, self.n_features)
        by = ", ".join(f"{count} by {author}" for author, count in self.authors.items())
        lines = [f"{self.n_features} features reported ({by})"]
        if "report_median_r" in self.metrics:
            lines.append(
                f"{self.metrics['report_n_verified']:.0f} verified of "
                f"{self.metrics['report_n_tested']:.0f} tested on proteins held back; median r "
                f"{self.metrics['report_median_r']:.2f}"
            )
        return [*lines, f"written to {self.pages['html']}"]


def _dry_lines(found: DryRun, n_features: int) -> list[str]:
    lines = [f"{n_features} features by {found.model}; nothing was sent"]
    for what, part in (("descriptions", found.describing), ("predictions", found.testing)):
        lines.append(
            f"{part.n_requests} {what}: at most {part.input_tokens:,} tokens read, "
            f"{part.output_tokens:,} written, ${part.cost_usd:.2f}"
        )
    return [*lines, f"at most ${found.cost_usd:.2f} in all"]


@on_threads
def run(request: ReportRequest, progress: Progress) -> ReportOutcome:
    """Collect evidence on features, put it into words and test the words.

    Raises
    ------
    InputError
        If the model or the proteins are wrong, a latent asked for is dead or does not exist, or
        another run is writing the output folder.
    QualityError
        If the proteins or the evidence fail a critical expectation: no page is written.
    """
    from plmsae.reports.claude.settings import has_key, llm_settings
    from plmsae.reports.describe import describe_all, dry_run
    from plmsae.reports.evidence_table import evidence_table
    from plmsae.reports.page import authors
    from plmsae.reports.render import render_reports
    from plmsae.reports.report import report_metrics

    if request.n_features < 1 and not request.latents:
        raise InputError("at least one feature is to be reported", value=str(request.n_features))
    if request.max_usd is not None and request.max_usd < 0:
        raise InputError("an amount of money is 0 or more", value=str(request.max_usd))
    need_file(request.proteins, why="report reads it twice")
    settings = llm_settings(request.llm)
    bundle, uri = resolve_exactly(request.model)
    if bundle.meta.unit != "residue":
        raise InputError(
            "reports show stretches of sequence: they need a residue-level SAE",
            where=request.model,
            hint="plmsae score makes the calls of a protein-level one",
        )
    cache = request.out / "cache"
    if request.dry_run:
        evidence, _ = _evidence(request, bundle, uri, progress, None)
        planned = dry_run(evidence, settings=settings, cache_dir=cache, batch=request.batch)
        return ReportOutcome(
            pages={}, n_features=len(evidence), authors={}, metrics={}, dry_run=planned
        )
    asks = has_key() and not request.no_llm
    with (
        only_writer(request.out),
        start_run(
            experiment="plmsae-report",
            run_name=f"report {bundle.name}",
            params=request_params(request, model=uri, llm=settings.model if asks else None),
            folder=request.out,
        ) as tracked,
    ):
        evidence, families = _evidence(request, bundle, uri, progress, tracked)
        if asks:
            _log_prompts(tracked)
        with progress.task("writing and testing reports") as task:
            done = 0

            def count(outcome: Outcome) -> None:
                nonlocal done
                done += 1
                task.update(done, None)
                _trace(tracked, outcome)

            reports = describe_all(
                evidence,
                client="auto" if asks else None,
                settings=settings,
                cache_dir=cache,
                batch=request.batch,
                max_usd=request.max_usd,
                on_outcome=count,
            )
        table = evidence_table(reports, families)
        page = request.out / "quality-evidence"
        checked = gate("evidence", table, page, {}, tracked, name=bundle.name)
        about = {
            "model": uri,
            "proteins": PurePath(source_name(request.proteins)).name,
            "quality of the evidence": _quality(checked),
            "warnings of the model's gates": str(bundle.meta.extra.get(QUALITY_WARNINGS, "none")),
        }
        pages = render_reports(reports, request.out, about=about)
        for path in pages.values():
            tracked.log_artifact(path, "report")
        tracked.log_artifact(request.out / "features", "report/features")
        metrics = report_metrics(reports)
        tracked.log_metrics(0, metrics)
        log_version_metrics(
            uri,
            {name: value for name, value in metrics.items() if "median" in name},
            run_id=tracked.run_id,
        )
        link_page(tracked, uri, REPORTS, f"{len(reports)} features", "report/report.html")
    return ReportOutcome(
        pages=pages, n_features=len(reports), authors=authors(reports), metrics=metrics
    )


def _quality(checked: ValidationReport) -> str:
    """Return the verdict, with the names of the expectations that gave a warning."""
    from plmsae.quality.report import warnings_in_words

    named = f" ({warnings_in_words([checked])})" if checked.of("warning") else ""
    return checked.verdict + named


def _evidence(
    request: ReportRequest, bundle: Bundle, uri: str, progress: Progress, tracked: Run | None
) -> tuple[list[FeatureEvidence], dict[str, int]]:
    """Encode the proteins and collect what is known of the features asked for.

    Returns
    -------
    list of FeatureEvidence
    dict of str to int
        Homology cluster of each protein, by accession.
    """
    import polars as pl

    from plmsae.concepts.labels.label_table import labels_from_uniprot
    from plmsae.proteins.search import search
    from plmsae.proteins.splits import cluster
    from plmsae.proteins.uniprot import read_table
    from plmsae.reports.collecting import build_evidence
    from plmsae.reports.metadata import protein_metadata
    from plmsae.reports.testing.samples import Homology
    from plmsae.scoring.encoding import load_encoder
    from plmsae.workflows.shared.encoded_store import with_store

    features = bundle.features
    if request.latents:
        features = features.filter(pl.col("latent").is_in(list(request.latents)))
        missing = set(request.latents) - set(features.filter(~pl.col("dead"))["latent"])
        if missing:
            raise NotFoundError("dead, or no such latent", where=uri, value=str(min(missing)))
    proteins = read_protein_set(
        request.proteins, max_proteins=request.max_proteins, seed=request.seed, progress=progress
    )
    if tracked is not None:
        check_proteins(proteins, request.out / "quality-proteins", tracked)
    accessions = [p.accession for p in proteins.proteins]
    table = labels = None
    if is_table(request.proteins):
        table = read_table(Path(request.proteins))
        table = table.filter(pl.col("accession").is_in(pl.Series(accessions).implode()))
        labels = labels_from_uniprot(table)
    device: Any = request.device
    encoder = with_store(load_encoder(bundle, device=device), request.encoded)
    with progress.task(f"encoding {len(accessions)} proteins") as task:
        latents = encoder.encode(proteins.sequences)
        task.update(1, 1)
    with progress.task("collecting evidence") as task:
        homology = Homology.of_hits(
            cluster(proteins.sequences).tolist(), search(proteins.sequences)
        )
        found = build_evidence(
            features,
            bundle.concepts,
            latents,
            accessions,
            proteins.sequences,
            labels,
            latents_to_report=len(request.latents) or request.n_features,
            metadata=protein_metadata(proteins.proteins, table),
            homology=homology,
        )
        task.update(1, 1)
    return found, dict(zip(accessions, homology.clusters, strict=True))


def _log_prompts(tracked: Run) -> None:
    from plmsae.reports.claude.prompts import PROMPTS, load_prompt

    for name in PROMPTS:
        prompt = load_prompt(name)
        register_prompt(
            tracked, prompt.name, prompt.text, version=prompt.version, sha256=prompt.sha256
        )


def _trace(tracked: Run, outcome: Outcome) -> None:
    usage = outcome.usage
    trace_call(
        tracked,
        outcome.request.about,
        inputs=outcome.request.arguments,
        outputs=outcome.answer.model_dump(mode="json") if outcome.answer else {},
        attributes={
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cost_usd": usage.cost_usd,
            "from_disk": usage.cached and outcome.answer is not None,
        },
        seconds=outcome.seconds,
        error=outcome.problem,
    )
