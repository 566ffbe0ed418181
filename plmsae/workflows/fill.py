"""Propose labels that a UniProt table lacks, and measure them where the truth is known."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from plmsae.core.atomic import atomic_path
from plmsae.core.errors import printable
from plmsae.core.fingerprint import DataFingerprint, fingerprint_file
from plmsae.core.stopping import kept_if_stopped
from plmsae.core.words import counted
from plmsae.proteins.stream import source_name
from plmsae.registry.lineage import log_used_version
from plmsae.registry.models import recorded_tags, resolve_exactly
from plmsae.tracking.run_inputs import log_data
from plmsae.tracking.runs import start_run
from plmsae.tracking.summary import log_summary
from plmsae.workflows.scoring.callable_concepts import calls_freed, most_precise, round_down
from plmsae.workflows.scoring.input_gate import (
    check_input,
    parsed_table,
    quality_folder,
    refuse_working_folder,
)
from plmsae.workflows.scoring.running import (
    commonest,
    encoder_of,
    progress_callback,
    run_facts,
    scored_data,
    settings_of,
)
from plmsae.workflows.shared.device import check_device
from plmsae.workflows.shared.inputs import gate, quality_rows
from plmsae.workflows.shared.outcome import Outcome
from plmsae.workflows.shared.progress import Progress, step
from plmsae.workflows.shared.ready import introduce
from plmsae.workflows.shared.requests import FillRequest, request_params
from plmsae.workflows.shared.threads import on_threads

if TYPE_CHECKING:
    import polars as pl

    from plmsae.bundle.reading import Bundle
    from plmsae.quality.report import ValidationReport
    from plmsae.scoring.fill import FillResult
    from plmsae.tracking.runs import Run


_ABOUT = (
    "Labels that a table lacks, proposed by a registered model. proposals.tsv is among the "
    "artifacts, with what a back-test or a truth measured and the pages of the quality gates; all "
    "tables are in the folder below."
)


@dataclass(frozen=True, kw_only=True)
class FillOutcome(Outcome):
    """What was proposed."""

    folder: Path
    model_uri: str
    n_calls: int
    n_known: int
    n_withheld: int
    n_implied: int
    n_proposed: int
    min_precision: float
    missing_share: float
    abstained: list[dict[str, Any]]
    """One row for each concept that proposes nothing: ``concept``, ``reason``, ``n_withheld``,
    ``precision_low``; of ids the ``name``."""
    truth: dict[str, float] | None
    """Where the truth was given: hidden, recovered, proposed, correct, precision, and the mean of
    the precision promised."""
    by_concept: list[dict[str, Any]]
    backtest: list[dict[str, Any]]
    """One row for each way of hiding and concept, where a back-test was asked for."""
    backtest_homology: list[dict[str, Any]]
    """The same for labels of the best hit, one row for each way of hiding and bin of identity."""
    n_with_homologue: int
    """Proposals that a homologue's label supports too."""
    n_by_concept: dict[str, int]
    """Proposals of each concept that has any."""
    quality: dict[str, Any]
    """Verdicts on the input and the proposals, by kind of table, where they were checked."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**super().to_json(), "proposals": str(self.folder / "proposals.tsv")}

    def table(self) -> list[tuple[str, str]]:
        """Return what to see first: what, and how much or where."""
        rows = [
            ("model", self.model_uri),
            ("proposed", f"{self.n_proposed:,} labels, {self.n_with_homologue:,} by homology too"),
            (
                "calls",
                f"{self.n_calls:,}, {self.n_known:,} of them known, {self.n_withheld:,} withheld",
            ),
            ("precision asked for", f"{self.min_precision:g}"),
            ("share of the labels taken as missing", f"{self.missing_share:g}"),
            ("concepts that abstain", f"{len(self.abstained):,}"),
            *commonest(self.n_by_concept, "proposals"),
        ]
        if self.truth:
            rows.append(
                (
                    "truth",
                    f"{self.truth['recovered']:,.0f} of {self.truth['hidden']:,.0f} hidden labels "
                    f"recovered; {self.truth['correct']:,.0f} of {self.truth['proposed']:,.0f} "
                    "proposals correct",
                )
            )
        return [*rows, *quality_rows(self.quality), ("tables", str(self.folder))]

    def lines(self) -> list[str]:
        """Return it in words."""
        lines = [
            f"{counted(self.n_proposed, 'label')} proposed; of {counted(self.n_calls, 'call')} "
            f"{self.n_known:,} were known and {self.n_withheld:,} are of concepts that abstain",
        ]
        if self.n_proposed:
            lines.append(
                f"{self.n_with_homologue:,} of them homology finds too: a relative has the label "
                "in the same place (column homologue)"
            )
        if self.n_implied:
            lines.append(f"{self.n_implied:,} calls of a class are implied by a member's proposal")
        lines += abstained_lines(
            self.abstained, min_precision=self.min_precision, missing_share=self.missing_share
        )
        if self.abstained:
            lines.append(f"each of them with its reason: {self.folder / 'abstained.parquet'}")
        if self.truth:
            lines.append(
                f"truth: {counted(self.truth['hidden'], 'label')} hidden, "
                f"{self.truth['recovered']:,.0f} recovered; {self.truth['correct']:,.0f} of "
                f"{self.truth['proposed']:,.0f} proposals correct"
            )
        if self.backtest:
            from plmsae.workflows.scoring.backtest import backtest_lines

            lines += backtest_lines(self.backtest, self.backtest_homology)
        lines.append(f"written to {self.folder / 'proposals.tsv'}")
        return lines


def abstained_lines(
    rows: list[dict[str, Any]], *, min_precision: float, missing_share: float
) -> list[str]:
    """Say which concepts proposed nothing, why, and which option would change that.

    Parameters
    ----------
    rows : list of dict
        Those of ``abstained.parquet``.
    min_precision, missing_share : float
        What the run was asked for.
    """
    from plmsae.scoring.abstaining import UNMEASURED

    lines = []
    low = sorted(
        (row for row in rows if row["precision_low"] is not None),
        key=lambda row: (-row["precision_low"], row["concept"]),
    )
    if low:
        lines.append(
            f"{_concepts(low)}: where the table has no label, their precision is not shown to "
            f"reach {min_precision:.0%} (--min-precision), if {missing_share:.0%} of the labels "
            "are missing (--missing-share; --missing-shares gives the share by kind)"
        )
    # The bounds worth trying are those of concepts that had something to propose.
    if calling := [row for row in low if row["n_withheld"]]:
        bound = round_down(calling[0]["precision_low"])
        freed = calls_freed(row for row in calling if row["precision_low"] >= bound)
        lines.append(
            "  the most precise, each with the highest bound it meets: "
            f"{most_precise(calling, 'precision_low')}; --min-precision {bound:g} would propose "
            f"{freed:,} more"
        )
    if never := [row for row in rows if row["reason"] == UNMEASURED]:
        lines.append(
            f"{_concepts(never)}: no held-out call measured how precise they are; "
            "plmsae evaluate on more labelled proteins may do so"
        )
    uncalled: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row not in low and row not in never:
            uncalled.setdefault(row["reason"], []).append(row)
    return [*lines, *(f"{_concepts(of)}: {reason}" for reason, of in sorted(uncalled.items()))]


def _concepts(rows: list[dict[str, Any]]) -> str:
    withheld = sum(row["n_withheld"] for row in rows)
    verb = "concept abstains" if len(rows) == 1 else "concepts abstain"
    calls = f" ({counted(withheld, 'call')} withheld)" if withheld else ""
    return f"{len(rows)} {verb}{calls}"


@on_threads
def run(request: FillRequest, progress: Progress) -> FillOutcome:
    """Propose labels; see `plmsae.scoring.fill.fill`.

    Raises
    ------
    InputError
        If the table or the model is wrong.
    QualityError
        If the proteins of the table or the proposals fail a critical expectation.
    """
    from plmsae.concepts.labels.missing_labels import read_missing_shares
    from plmsae.proteins.ontology import read_obo
    from plmsae.proteins.uniprot import read_table
    from plmsae.scoring.engine import check_arguments
    from plmsae.scoring.fill import fill, score_identity, start_fill_over
    from plmsae.scoring.folder import ScoreFolder
    from plmsae.scoring.known import check_ontology, known_labels, refuse_without_features
    from plmsae.scoring.parts import PART_RESIDUES
    from plmsae.scoring.truth import totals

    # Before hours are spent.
    refuse_working_folder(request.out)
    check_arguments(request.out / "scores", min_precision=request.min_precision)
    check_device(request.device)
    known_shares = read_missing_shares(request.missing_shares) if request.missing_shares else None
    bundle, uri = resolve_exactly(request.model)
    introduce(request.model, bundle, progress)
    ontology = read_obo(request.ontology) if request.ontology is not None else None
    check_ontology(bundle, ontology)
    with ExitStack() as stack:
        scores = ScoreFolder(request.out / "scores")
        identity = score_identity(
            bundle, model_uri=uri, part_residues=PART_RESIDUES, settings=settings_of(request)
        )
        if not request.start_over:
            scores.check_run(identity)
        spool, table = stack.enter_context(parsed_table(request, progress))
        if not request.start_over:
            scores.check_run(identity, spool.sha256)
        refuse_without_features(table, bundle, where=source_name(request.table))
        truth_table = None if request.truth is None else read_table(Path(request.truth))
        if request.start_over:
            start_fill_over(request.out)
        tracked = stack.enter_context(
            start_run(
                experiment="plmsae-fill",
                system_metrics=True,
                run_name=f"fill {PurePath(source_name(request.table)).name}",
                params=request_params(request, model=uri),
                folder=request.out,
            )
        )
        log_used_version(tracked, uri)
        quality = check_input(spool, request.table, request, tracked, progress)
        # What follows the scores takes long, too.
        stack.enter_context(kept_if_stopped(scores.kept))
        with progress.task(f"filling with {bundle.name}") as task:
            result = fill(
                request.table,
                bundle,
                request.out,
                model_uri=uri,
                encoder=encoder_of(bundle, request),
                settings=settings_of(request),
                min_precision=request.min_precision,
                missing_share=request.missing_share,
                missing_shares=known_shares,
                ontology=ontology,
                strict=request.strict,
                progress=progress_callback(task),
                parsed=(spool, table),
            )
        log_data(tracked, scored_data(result.manifest), "score")
        measured: pl.DataFrame | None = None
        if request.truth is not None and truth_table is not None:
            all_labels = known_labels(truth_table, bundle.meta.unit, ontology)
            measured = _against_truth(request, Path(request.truth), result, all_labels, tracked)
        tested: pl.DataFrame | None = None
        homology: pl.DataFrame | None = None
        if request.backtest:
            from plmsae.workflows.scoring.backtest import run_backtest

            with step(progress, "back-testing"):
                tested, homology = run_backtest(request, result, bundle, tracked)
        tracked.log_metrics(0, {"n_proposed": result.n_proposed, "n_known": result.n_known})
        tracked.log_artifact(request.out / "proposals.tsv")
        if request.validate:
            sequences = table.select("accession", "sequence")
            counts = _counts(measured, tested, request)
            report = _check_proposals(request, result, bundle, uri, sequences, counts, tracked)
            quality |= {report.kind: report.verdicts()}
        truth = None if measured is None else totals(measured)
        if truth is not None:
            tracked.log_metrics(0, {f"truth_{k}": v for k, v in truth.items()})
        outcome = _outcome(
            request, uri, bundle, result, truth, (measured, tested, homology), quality
        )
        log_summary(tracked, f"Filled with {bundle.name}", _ABOUT, outcome.table())
    return outcome


def _against_truth(
    request: FillRequest, truth: Path, result: FillResult, all_labels: pl.DataFrame, tracked: Run
) -> pl.DataFrame:
    """Count what came back of the labels that were hidden, and write ``truth.tsv``."""
    from plmsae.scoring.truth import check_against_truth

    data = DataFingerprint(source=printable(truth.name), sha256=fingerprint_file(truth))
    log_data(tracked, data, "truth")
    measured = check_against_truth(result.proposals(), all_labels, result.labels)
    with atomic_path(request.out / "truth.tsv") as temporary:
        measured.write_csv(temporary, separator="\t")
    tracked.log_artifact(request.out / "truth.tsv")
    return measured


def _check_proposals(
    request: FillRequest,
    result: FillResult,
    bundle: Bundle,
    uri: str,
    sequences: pl.DataFrame,
    counts: pl.DataFrame | None,
    tracked: Run,
) -> ValidationReport:
    import polars as pl

    scores = request.out / "scores"
    context = {
        "proteins": scores / "proteins",
        "concepts": bundle.concepts,
        "labels": result.labels,
        "registered": run_facts(result.manifest, uri, recorded_tags(uri)),
        "sequences": sequences,
        "backtest": counts,
        "asked": pl.DataFrame({"min_precision": [result.min_precision]}),
    }
    page = quality_folder(request.out, "output")
    return gate("proposals", request.out / "proposals", page, context, tracked)


def _outcome(
    request: FillRequest,
    uri: str,
    bundle: Bundle,
    result: FillResult,
    truth: dict[str, float] | None,
    tables: tuple[pl.DataFrame | None, pl.DataFrame | None, pl.DataFrame | None],
    quality: dict[str, Any],
) -> FillOutcome:
    from plmsae.concepts.labels.names import names_of_ids

    names = names_of_ids(bundle.concepts)
    counts = result.proposals().group_by("concept").len().sort("concept")
    by_concept, backtest, homology = ([] if t is None else t.to_dicts() for t in tables)
    return FillOutcome(
        folder=request.out,
        model_uri=uri,
        n_calls=result.n_calls,
        n_known=result.n_known,
        n_withheld=result.n_withheld,
        n_implied=result.n_implied,
        n_proposed=result.n_proposed,
        min_precision=result.min_precision,
        missing_share=request.missing_share,
        abstained=result.abstained()
        .join(names, on="concept", how="left", maintain_order="left")
        .to_dicts(),
        truth=truth,
        by_concept=by_concept,
        backtest=backtest,
        backtest_homology=homology,
        n_with_homologue=result.n_with_homologue,
        n_by_concept=dict(counts.iter_rows()),
        quality=quality,
    )


def _hides_what_is_missing(request: FillRequest) -> bool:
    return request.missing_shares is None and request.hide_share == request.missing_share


def _counts(
    measured: pl.DataFrame | None, tested: pl.DataFrame | None, request: FillRequest
) -> pl.DataFrame | None:
    """Return the counts under the names the quality suite knows them by.

    Of a truth if one was given, else of the back-test, if it hid what is promised to be missing:
    a promise for another share is not refuted by it.
    """
    if measured is None and tested is not None and _hides_what_is_missing(request):
        measured = tested.filter(tested["hiding"] == "random")
    if measured is None:
        return None
    names = ("hidden", "recovered", "proposed", "correct")
    return measured.select("concept", *(measured[n].alias(f"n_{n}") for n in names))
