"""Find out what the features of an SAE mean, beside the baselines, and register the evidence."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from plmsae.bundle import Bundle, write_bundle
from plmsae.errors import InputError
from plmsae.registry import register, resolve
from plmsae.tracking import Run, start_run
from plmsae.workflows.annotated import label_context, read_annotated
from plmsae.workflows.baselines import check_baselines, compare, log_comparison
from plmsae.workflows.calling import calling_lines, choose_calling
from plmsae.workflows.fidelity import (
    Reconstruction,
    log_reconstruction,
    measure_reconstruction,
    wants_head,
)
from plmsae.workflows.inputs import gate
from plmsae.workflows.kinds import kind_lines, with_kinds
from plmsae.workflows.progress import Progress
from plmsae.workflows.requests import EvaluateRequest
from plmsae.workflows.states import encode_with_states

if TYPE_CHECKING:
    import polars as pl

    from plmsae.concepts.evaluation import Evaluation


@dataclass(frozen=True, kw_only=True)
class EvaluateOutcome:
    """What the features mean."""

    bundle: Path
    model: str | None
    how: str
    """How the proteins were split."""
    summary: dict[str, float]
    baselines: list[dict[str, Any]]
    """One row a method: the columns of :func:`plmsae.concepts.headline.headline_table`."""
    top_concepts: list[dict[str, Any]]
    callable_concepts: list[dict[str, Any]]
    """Those whose calls reach the precision asked for, on held-out proteins."""
    promoted: bool
    leak: str = ""
    """How many homologous pairs the split parts, in words."""
    reconstruction: Reconstruction | None = None
    """How faithful the SAE is, where it is of residues."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            **own,
            "bundle": str(self.bundle),
            "reconstruction": self.reconstruction and self.reconstruction.to_json(),
        }

    def lines(self) -> list[str]:
        """Return it in words."""
        lines = [
            f"{int(self.summary['n_features_f1_50'])} features and "
            f"{int(self.summary['n_concepts_f1_50'])} concepts at F1 > 0.5 on both splits "
            f"({self.how})",
            f"  of {int(self.summary['n_concepts']):,} concepts common enough to be chosen and "
            f"judged; {int(self.summary['n_concepts_skipped']):,} are too rare",
        ]
        lines += _headline_lines(self.baselines)
        if self.reconstruction is not None:
            lines += self.reconstruction.lines()
        lines += kind_lines(self.summary)
        if self.top_concepts:
            lines.append("best concepts (F1 on held-out proteins; precision of calls; 95 %):")
        lines += [
            f"  {row['concept']:<44.44} {_f1(row):<20}  latent {row['latent']:<6} {_interval(row)}"
            for row in self.top_concepts[:10]
        ]
        return lines + self.closing_lines("concepts")

    def closing_lines(self, things: str) -> list[str]:
        """Return how well `things` are called, and where the model is."""
        lines = [
            f"{len(self.callable_concepts)} {things} can be called at the precision asked for; "
            "the others abstain",
            *calling_lines(self.summary),
            *([self.leak] if self.leak else []),
            f"registered as {self.model}" if self.model else f"bundle in {self.bundle}",
        ]
        if self.promoted:
            lines.append("promoted to champion")
        return lines


AnyOutcome = TypeVar("AnyOutcome", bound=EvaluateOutcome)


def _headline_lines(rows: list[dict[str, Any]]) -> list[str]:
    import polars as pl

    from plmsae.concepts.headline import HEADLINE_SCHEMA, headline_lines

    return headline_lines(pl.DataFrame(rows, schema=HEADLINE_SCHEMA))


def _f1(row: dict[str, Any]) -> str:
    if row.get("f1_low") is None:
        return f"F1 {row['f1']:.2f}"
    return f"F1 {row['f1']:.2f} [{row['f1_low']:.2f}, {row['f1_high']:.2f}]"


def _interval(row: dict[str, Any]) -> str:
    if row["call_precision"] is None:
        return "no calls"
    low, high = row["call_precision_low"], row["call_precision_high"]
    return f"precision {row['call_precision']:.2f} [{low:.2f}, {high:.2f}]"


def run(request: EvaluateRequest, progress: Progress) -> EvaluateOutcome:
    """Evaluate a model on labelled proteins.

    Raises
    ------
    InputError
        If the model or the tables are wrong, or no concept is common enough.
    QualityError
        If the labels fail a critical expectation, or promotion was asked for and a gate is not met.
    """
    from plmsae.concepts.calibration import meets
    from plmsae.concepts.evaluation import evaluate_residue
    from plmsae.concepts.headline import headline_metrics, registered_metrics
    from plmsae.scoring.encoding import load_encoder

    check_baselines(request)
    bundle = resolve(request.model)
    if bundle.meta.unit == "protein":
        from plmsae.workflows import evaluate_proteins

        return evaluate_proteins.run(request, bundle, progress)
    if request.ontology is not None:
        raise InputError(
            "only protein-level models are tested for GO terms; this one is of residues",
            where="--ontology",
        )
    data = read_annotated(request, progress)
    params = {k: v for k, v in dataclasses.asdict(request).items() if k not in ("out", "register")}
    with start_run(
        experiment="plmsae-evaluate", run_name=f"evaluate {bundle.name}", params=params
    ) as tracked:
        tracked.set_tags({"split": data.how})
        gate(
            "labels",
            data.labels,
            request.out / "quality-labels",
            label_context(data),
            tracked,
            name=request.concepts,
        )
        device: Any = request.device
        encoder = load_encoder(bundle, device=device, head=wants_head(request))
        keep = request.baselines != "none"
        latents, states = encode_with_states(
            encoder, data.sequences, progress, keep=keep, folder=request.out
        )
        with progress.task("associating latents with concepts") as task:
            organism = request.report_on is not None
            evaluation = evaluate_residue(
                latents,
                data.accessions,
                data.labels,
                data.split,
                lengths=[len(s) for s in data.sequences],
                min_instances=request.min_instances,
                clusters=data.clusters,
                sequences=data.sequences,
                bootstrap=request.bootstrap,
                min_precision=request.min_precision,
                seed=request.seed,
            )
            task.update(1, 1)
        found = compare(request, data, evaluation, latents, states, encoder, progress)
        metrics = {k: float(v) for k, v in evaluation.summary.items() if math.isfinite(v)}
        metrics |= headline_metrics(found) | data.leak.metrics()
        reconstruction = measure_reconstruction(request, data, encoder, latents, progress)
        metrics |= reconstruction.report_metrics()
        calling = choose_calling(request, data, evaluation, latents, states, progress)
        metrics |= calling.metrics
        concepts = calling.concepts
        callable_concepts = meets(concepts, request.min_precision)
        metrics["n_concepts_callable"] = float(callable_concepts.sum())
        features, concepts, kinds = with_kinds(data, evaluation, concepts, latents, progress)
        metrics |= kinds
        source = request.report_on if organism and request.report_on else request.concepts
        new = write_bundle(
            request.out / "bundle",
            sae_folder=bundle.sae_folder,
            meta=dataclasses.replace(
                bundle.meta,
                eval_data=data.fingerprint(source, "report"),
                metrics={
                    **reconstruction.if_unmeasured(bundle.meta.metrics),
                    **bundle.meta.metrics,
                    **registered_metrics(metrics),
                },
                min_precision=request.min_precision,
                extra={**bundle.meta.extra, "split": data.how, "homology_leak": data.leak.line()},
            ),
            features=features,
            concepts=concepts,
            callers=calling.callers,
        )
        calling.log(tracked, request.out)
        _log(tracked, request.out, new, evaluation, data.labels, metrics)
        log_comparison(tracked, found, request.out)
        log_reconstruction(tracked, reconstruction, request.out)
        model = None
        if request.register:
            ref = register(new, run_id=tracked.run_id)
            model = f"{ref.name}/{ref.version}"
    outcome = EvaluateOutcome(
        bundle=new.path,
        model=model,
        how=data.how,
        leak=data.leak.line(),
        summary=metrics,
        baselines=found.to_dicts(),
        callable_concepts=concepts.filter(callable_concepts)
        .sort("call_precision_low", descending=True)
        .to_dicts(),
        top_concepts=_top(evaluation),
        promoted=False,
        reconstruction=reconstruction,
    )
    return promoted(outcome, model) if request.promote and model else outcome


def promoted(outcome: AnyOutcome, model: str) -> AnyOutcome:
    """Promote what was registered; if a gate is not met, the error brings the outcome along."""
    from plmsae.promotion import GatesNotMetError, promote

    try:
        return dataclasses.replace(outcome, promoted=promote(model).promoted)
    except GatesNotMetError as error:
        error.outcome = outcome
        raise


def _log(
    tracked: Run,
    out: Path,
    bundle: Bundle,
    evaluation: Evaluation,
    labels: pl.DataFrame,
    metrics: dict[str, float],
) -> None:
    """Put tables, figures and metrics where MLflow shows them."""
    from plmsae.concepts.labels import concept_counts
    from plmsae.reports.plots import plot_density_histogram, plot_f1_histogram

    tracked.log_metrics(0, metrics)
    for name in ("features.parquet", "concepts.parquet"):
        tracked.log_artifact(bundle.path / name, "evaluation")
    for name, frame in (
        ("evidence", evaluation.evidence),
        ("calls", evaluation.calls),
        ("skipped", evaluation.skipped),
        ("pairs", evaluation.pairs),
        ("concept_counts", concept_counts(labels)),
    ):
        path = out / f"{name}.parquet"
        frame.write_parquet(path)
        tracked.log_artifact(path, "evaluation")
    plot_f1_histogram(evaluation.features, out / "f1.png")
    plot_density_histogram(evaluation.features, out / "density.png")
    for name in ("f1.png", "density.png"):
        tracked.log_artifact(out / name, "figures")


def _top(evaluation: Evaluation) -> list[dict[str, Any]]:
    import polars as pl

    confirmed = evaluation.concepts.filter((pl.col("f1") > 0.5) & (pl.col("f1_select") > 0.5))
    interval = evaluation.evidence.select("concept", "f1_low", "f1_high")
    confirmed = confirmed.join(interval, on="concept", how="left", maintain_order="left")
    return confirmed.sort("f1", descending=True).to_dicts()
