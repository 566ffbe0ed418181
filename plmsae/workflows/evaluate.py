"""Find out what the features of an SAE mean, beside the baselines, and register the evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.bundle.meta import QUALITY_WARNINGS
from plmsae.bundle.reading import Bundle
from plmsae.core.errors import InputError
from plmsae.registry.models import resolve_exactly
from plmsae.tracking.runs import Run
from plmsae.workflows.evaluating.activation_store import encode_with_states
from plmsae.workflows.evaluating.annotated import Annotated, label_context, read_annotated
from plmsae.workflows.evaluating.baselines import check_baselines, compare, log_comparison
from plmsae.workflows.evaluating.calling import choose_calling
from plmsae.workflows.evaluating.feature_properties import with_properties
from plmsae.workflows.evaluating.fidelity import (
    log_reconstruction,
    measure_reconstruction,
    wants_head,
)
from plmsae.workflows.evaluating.label_transfer import transfer
from plmsae.workflows.evaluating.outcome import (
    EvaluateOutcome,
    callable_rows,
    log_evaluation,
    promoted,
)
from plmsae.workflows.evaluating.run import (
    evaluation_run,
    log_evaluated,
    registered,
    write_evaluated,
)
from plmsae.workflows.shared.device import check_device
from plmsae.workflows.shared.inputs import gate
from plmsae.workflows.shared.model_gate import check_models, model_row
from plmsae.workflows.shared.progress import Progress, step
from plmsae.workflows.shared.requests import EvaluateRequest
from plmsae.workflows.shared.threads import on_threads

if TYPE_CHECKING:
    import polars as pl
    from scipy.sparse import csr_array

    from plmsae.concepts.evaluation import Evaluation


@on_threads
def run(request: EvaluateRequest, progress: Progress) -> EvaluateOutcome:
    """Evaluate a model on labelled proteins.

    Raises
    ------
    InputError
        If the model or the tables are wrong, or no concept is common enough.
    QualityError
        If the labels or the SAE itself fail a critical expectation, or promotion was asked for and
        a gate is not met.
    """
    from plmsae.concepts.baselines.headline import headline_metrics, registered_metrics
    from plmsae.concepts.calling.calibration import called
    from plmsae.quality.report import warnings_in_words
    from plmsae.scoring.encoding import load_encoder

    check_baselines(request)
    check_device(request.device)
    bundle, uri = resolve_exactly(request.model)
    if bundle.meta.unit == "protein":
        from plmsae.workflows.evaluating import evaluate_proteins

        return evaluate_proteins.run(request, bundle, uri, progress)
    if request.ontology is not None:
        raise InputError(
            "only protein-level models are tested for GO terms; this one is of residues",
            where="--ontology",
        )
    data = read_annotated(request, progress)
    with evaluation_run(request, bundle, uri, data) as (tracked, parts):
        checked = gate(
            "labels",
            data.labels,
            request.out / "quality-labels",
            label_context(data),
            tracked,
            name=request.concepts,
        )
        device: Any = request.device
        encoder = load_encoder(
            bundle, device=device, precision=request.precision, head=wants_head(request)
        )
        keep = request.baselines != "none"
        latents, states = encode_with_states(
            encoder, data.sequences, progress, keep=keep, parts=parts
        )
        with step(progress, "associating latents with concepts"):
            evaluation = _evaluate(request, data, latents)
        names = evaluation.concepts["concept"]
        transferred = transfer(request, data, names, states, progress)
        found, best = compare(
            request, data, evaluation, latents, states, encoder, transferred, progress
        )
        metrics = {k: float(v) for k, v in evaluation.summary.items() if math.isfinite(v)}
        metrics |= headline_metrics(found) | data.leak.metrics()
        reconstruction = measure_reconstruction(request, data, encoder, latents, progress)
        metrics |= reconstruction.report_metrics()
        row = model_row(
            bundle.name,
            encoder.sae,
            {"dead_share": metrics["dead_share"]} | reconstruction.measured(),
            stored_scale=bundle.meta.metrics.get("activation_scale"),
        )
        models = check_models([row], request.out / "quality-models", tracked)
        calling = choose_calling(request, data, evaluation, latents, states, transferred, progress)
        metrics |= calling.metrics
        concepts = calling.concepts
        metrics["n_concepts_callable"] = float(called(concepts, request.min_precision).sum())
        features, concepts, kinds = with_properties(data, evaluation, concepts, latents, progress)
        concepts = concepts.join(best, on="concept", how="left", maintain_order="left")
        metrics |= kinds
        new = write_evaluated(
            request, bundle, data, calling,
            metrics={
                **reconstruction.if_unmeasured(bundle.meta.metrics),
                **registered_metrics(metrics),
            },
            features=features,
            concepts=concepts,
            extra={QUALITY_WARNINGS: warnings_in_words([checked, models])},
        )  # fmt: skip
        calling.log(tracked, request.out)
        _log(tracked, request.out, new, evaluation, data.labels, metrics)
        log_comparison(tracked, found, request.out)
        log_reconstruction(tracked, reconstruction, request.out)
        model = registered(request, new, tracked)
        outcome = EvaluateOutcome(
            bundle=new.path,
            model=model,
            how=data.how,
            leak=data.leak.line(),
            summary=metrics,
            baselines=found.to_dicts(),
            callable_concepts=callable_rows(concepts, request.min_precision),
            top_concepts=_top(concepts),
            promoted=False,
            reconstruction=reconstruction,
        )
        log_evaluation(tracked, outcome, (checked, models))
    return promoted(outcome, model) if request.promote and model else outcome


def _evaluate(
    request: EvaluateRequest, data: Annotated, latents: Sequence[csr_array]
) -> Evaluation:
    from plmsae.concepts.evaluation import Settings, evaluate_residue

    return evaluate_residue(
        latents,
        data.accessions,
        data.labels,
        data.split,
        Settings(
            min_instances=request.min_instances,
            bootstrap=request.bootstrap,
            min_precision=request.min_precision,
            seed=request.seed,
        ),
        lengths=[len(s) for s in data.sequences],
        clusters=data.clusters,
        sequences=data.sequences,
    )


def _log(
    tracked: Run,
    out: Path,
    bundle: Bundle,
    evaluation: Evaluation,
    labels: pl.DataFrame,
    metrics: dict[str, float],
) -> None:
    """Put tables, figures and metrics where MLflow shows them."""
    from plmsae.concepts.labels.label_table import concept_counts
    from plmsae.reports.plots import plot_density_histogram, plot_f1_histogram

    tables = {
        "evidence": evaluation.evidence,
        "calls": evaluation.calls,
        "skipped": evaluation.skipped,
        "pairs": evaluation.detection.pairs,
        "concept_counts": concept_counts(labels),
    }
    log_evaluated(tracked, out, bundle, metrics, tables)
    plot_f1_histogram(evaluation.features, out / "f1.png")
    plot_density_histogram(evaluation.features, out / "density.png")
    for name in ("f1.png", "density.png"):
        tracked.log_artifact(out / name, "figures")


def _top(concepts: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the registered rows of the concepts that were found, by F1 of their best latent."""
    import polars as pl

    return concepts.filter(pl.col("n_latents") > 0).sort("f1", descending=True).to_dicts()
