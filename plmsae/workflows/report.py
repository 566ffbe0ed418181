"""Write reports on the best features of a model, by Claude where a key is set, and test them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.bundle.meta import QUALITY_WARNINGS
from plmsae.core.errors import InputError, NotFoundError
from plmsae.core.folders import only_writer
from plmsae.core.stopping import CONTINUES, kept_if_stopped
from plmsae.core.words import counted
from plmsae.proteins.stream import need_file
from plmsae.registry.models import log_version_metrics, resolve_exactly
from plmsae.registry.pages import REPORTS, link_page
from plmsae.tracking.prompts import register_prompt
from plmsae.tracking.runs import Run, start_run
from plmsae.tracking.summary import log_summary
from plmsae.tracking.traces import trace_call
from plmsae.workflows.reporting.outcome import ReportOutcome
from plmsae.workflows.shared.device import check_device
from plmsae.workflows.shared.inputs import (
    ProteinSet,
    check_proteins,
    gate,
    is_table,
    read_protein_set,
)
from plmsae.workflows.shared.progress import Progress, step
from plmsae.workflows.shared.requests import ReportRequest, request_params
from plmsae.workflows.shared.threads import on_threads

if TYPE_CHECKING:
    import polars as pl

    from plmsae.bundle.reading import Bundle
    from plmsae.quality.report import ValidationReport
    from plmsae.reports.claude.asking import Outcome
    from plmsae.reports.claude.settings import LlmSettings
    from plmsae.reports.evidence import FeatureEvidence
    from plmsae.reports.report import FeatureReport

__all__ = ["ReportOutcome", "run"]


_ABOUT = (
    "Descriptions of features, each tested on proteins held back. report/report.html, among the "
    "artifacts, has all of them."
)


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
    from plmsae.concepts.labels.label_table import labels_from_uniprot
    from plmsae.reports.chosen_on import compare
    from plmsae.reports.claude.settings import has_key, llm_settings, make_client
    from plmsae.reports.dry_run import dry_run
    from plmsae.reports.evidence_table import evidence_table
    from plmsae.reports.page import authors
    from plmsae.reports.render import render_reports
    from plmsae.reports.report import VERSION_METRICS, report_metrics

    check_device(request.device)
    need_file(request.proteins, why="report reads it twice")
    settings = llm_settings(request.llm)
    bundle, uri = resolve_exactly(request.model)
    if bundle.meta.unit != "residue":
        raise InputError(
            "reports show stretches of sequence: they need a residue-level SAE",
            where=request.model,
            hint="plmsae score makes the calls of a protein-level one",
        )
    features = _features(request, bundle, uri)
    proteins = read_protein_set(
        request.proteins, max_proteins=request.max_proteins, seed=request.seed, progress=progress
    )
    table = _table(request, proteins)
    labels = None if table is None else labels_from_uniprot(table)

    def collected(tracked: Run | None) -> tuple[list[FeatureEvidence], dict[str, int]]:
        return _evidence(request, bundle, features, proteins, table, labels, progress, tracked)

    if request.dry_run:
        evidence, _ = collected(None)
        planned = dry_run(
            evidence,
            settings=settings,
            cache_dir=request.out / "cache",
            batch=request.batch,
            client=None if request.no_llm else make_client(settings),
        )
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
        kept_if_stopped(lambda: _kept(request)),
    ):
        evidence, families = collected(tracked)
        if asks:
            _log_prompts(tracked)
        reports = _reports(request, evidence, settings, tracked, progress, asks=asks)
        evidence_rows = evidence_table(reports, families)
        page = request.out / "quality-evidence"
        checked = gate("evidence", evidence_rows, page, {}, tracked, name=bundle.name)
        used = f"{len(proteins.proteins):,} of {proteins.fingerprint.source}"
        chosen_on = compare(bundle.meta, proteins.fingerprint, proteins.sequences)
        about = {
            "model": uri,
            "proteins": used,
            "choice of concepts": chosen_on.words,
            **({"warning": chosen_on.warning} if chosen_on.warning else {}),
            "quality of the evidence": _quality(checked),
            "warnings of the model's gates": str(bundle.meta.extra.get(QUALITY_WARNINGS, "none")),
        }
        pages = render_reports(reports, request.out, about=about)
        for path in pages.values():
            tracked.log_artifact(path, "report")
        tracked.log_artifact(request.out / "features", "report/features")
        metrics = report_metrics(reports)
        tracked.log_metrics(0, metrics)
        digest = proteins.fingerprint.sha256[:12]
        words = f"{used} (sha256 {digest}); choice of concepts: {chosen_on.words}"
        about_them = {"report_proteins": words}
        tracked.set_tags(about_them)
        if not request.latents:  # numbers of features picked by hand are no measure of the model
            measured = {name: metrics.get(name) for name in VERSION_METRICS}
            log_version_metrics(uri, measured, run_id=tracked.run_id, tags=about_them)
            link_page(tracked, uri, REPORTS, counted(len(reports), "feature"), "report/report.html")
        outcome = ReportOutcome(
            pages=pages,
            n_features=len(reports),
            authors=authors(reports),
            metrics=metrics,
            warning=chosen_on.warning,
        )
        title = f"Feature reports of {bundle.name}"
        log_summary(tracked, title, _ABOUT, [*outcome.table(), *about.items()])
    return outcome


def _reports(
    request: ReportRequest,
    evidence: list[FeatureEvidence],
    settings: LlmSettings,
    tracked: Run,
    progress: Progress,
    *,
    asks: bool,
) -> list[FeatureReport]:
    from plmsae.reports.describe import describe_all

    with progress.task("writing and testing reports") as task:
        done = 0

        def count(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            task.update(done, None)
            _trace(tracked, outcome)

        return describe_all(
            evidence,
            client="auto" if asks else None,
            settings=settings,
            cache_dir=request.out / "cache",
            batch=request.batch,
            max_usd=request.max_usd,
            on_outcome=count,
        )


def _kept(request: ReportRequest) -> str:
    """Return what a report that was stopped leaves, in words; empty if it is nothing."""
    kept = []
    if request.encoded is not None and any(request.encoded.glob("*")):
        kept.append(f"the encoded proteins in {request.encoded}")
    if any((request.out / "cache").glob("*")):
        kept.append(f"Claude's answers in {request.out / 'cache'}")
    return f"{' and '.join(kept)} are kept; {CONTINUES}" if kept else ""


def _quality(checked: ValidationReport) -> str:
    """Return the verdict, with the names of the expectations that gave a warning."""
    from plmsae.quality.report import warnings_in_words

    named = f" ({warnings_in_words([checked])})" if checked.of("warning") else ""
    return checked.verdict + named


def _features(request: ReportRequest, bundle: Bundle, uri: str) -> pl.DataFrame:
    """Return the features to choose from, or raise `NotFoundError` for one that is not there."""
    import polars as pl

    if not request.latents:
        return bundle.features
    features = bundle.features.filter(pl.col("latent").is_in(list(request.latents)))
    missing = set(request.latents) - set(features.filter(~pl.col("dead"))["latent"])
    if missing:
        raise NotFoundError("dead, or no such latent", where=uri, value=str(min(missing)))
    return features


def _table(request: ReportRequest, proteins: ProteinSet) -> pl.DataFrame | None:
    """Return the rows of a UniProt table that are reported on; None of FASTA."""
    import polars as pl

    from plmsae.proteins.uniprot import read_table

    if not is_table(request.proteins):
        return None
    accessions = pl.Series([p.accession for p in proteins.proteins])
    table = read_table(Path(request.proteins))
    return table.filter(pl.col("accession").is_in(accessions.implode()))


def _evidence(
    request: ReportRequest,
    bundle: Bundle,
    features: pl.DataFrame,
    proteins: ProteinSet,
    table: pl.DataFrame | None,
    labels: pl.DataFrame | None,
    progress: Progress,
    tracked: Run | None,
) -> tuple[list[FeatureEvidence], dict[str, int]]:
    """Encode the proteins and collect what is known of the features asked for.

    Returns
    -------
    list of FeatureEvidence
    dict of str to int
        Homology cluster of each protein, by accession.
    """
    from plmsae.proteins.search import search
    from plmsae.proteins.splits import cluster
    from plmsae.reports.collecting import build_evidence
    from plmsae.reports.metadata import protein_metadata
    from plmsae.reports.testing.samples import Homology
    from plmsae.scoring.encoding import load_encoder
    from plmsae.workflows.shared.encoded_store import with_store

    if tracked is not None:
        check_proteins(proteins, request.out / "quality-proteins", tracked)
    accessions = [p.accession for p in proteins.proteins]
    device: Any = request.device
    encoder = with_store(load_encoder(bundle, device=device), request.encoded)
    with step(progress, f"encoding {len(accessions)} proteins"):
        latents = encoder.encode(proteins.sequences)
    with step(progress, "collecting evidence"):
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
    families = dict(zip(accessions, homology.clusters, strict=True))
    return found, families


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
