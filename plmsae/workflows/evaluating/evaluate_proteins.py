"""Find out what the latents of a protein-level SAE mean: terms of whole proteins, by enrichment."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from plmsae.bundle.meta import QUALITY_WARNINGS
from plmsae.bundle.reading import Bundle
from plmsae.concepts.enrichment.term_confirmation import Confirmation
from plmsae.concepts.enrichment.term_shares import ALL_GO
from plmsae.tracking.runs import Run
from plmsae.workflows.evaluating.activation_store import encode_means
from plmsae.workflows.evaluating.annotated_proteins import (
    AnnotatedProteins,
    read_annotated_proteins,
)
from plmsae.workflows.evaluating.calling import choose_calling
from plmsae.workflows.evaluating.label_transfer import Transferred, transfer
from plmsae.workflows.evaluating.outcome import callable_rows, log_evaluation, promoted
from plmsae.workflows.evaluating.protein_outcome import SAE, EvaluateProteinsOutcome
from plmsae.workflows.evaluating.run import (
    evaluation_run,
    log_evaluated,
    registered,
    write_evaluated,
)
from plmsae.workflows.shared.inputs import gate
from plmsae.workflows.shared.model_gate import check_models, model_row
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import EvaluateRequest

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from plmsae.concepts.evaluation import Evaluation
    from plmsae.encode import Encoder


def run(
    request: EvaluateRequest, bundle: Bundle, uri: str, progress: Progress
) -> EvaluateProteinsOutcome:
    """Evaluate a protein-level model.

    Raises
    ------
    InputError
        If the tables or the ontology are wrong, or no term is common enough.
    QualityError
        If the proteins or the SAE itself fail a critical expectation, or promotion was asked for
        and a gate is not met.
    """
    from plmsae.concepts.protein_evaluation import evaluate_proteins, rows_of
    from plmsae.quality.report import warnings_in_words
    from plmsae.scoring.encoding import load_encoder

    annotated = read_annotated_proteins(request, progress)
    data = annotated.data
    with evaluation_run(request, bundle, uri, data) as (tracked, parts):
        quality = request.out / "quality-proteins"
        context = {"rejected": annotated.rejected}
        table = _protein_frame(annotated)
        checked = gate("proteins", table, quality, context, tracked, name=request.concepts)
        device: Any = request.device
        encoder = load_encoder(bundle, device=device, precision=request.precision)
        latents_PF, means_PD = encode_means(encoder, data.sequences, progress, parts=parts)
        states = [] if request.baselines == "none" else list(means_PD[:, None])
        names = data.labels["concept"].unique()
        transferred = transfer(request, data, names, states, progress, unit="protein")
        tests = _run_tests(request, annotated, latents_PF, means_PD, transferred, progress)
        with progress.task("measuring latents as detectors") as task:
            evaluation = evaluate_proteins(
                latents_PF,
                data.accessions,
                data.labels,
                data.split,
                clusters=data.clusters,
                min_instances=request.min_instances,
                min_precision=request.min_precision,
                bootstrap=request.bootstrap,
                seed=request.seed,
            )
            task.update(1, 2)
            if request.baselines != "none":
                tests.add_detectors(request, annotated, evaluation, means_PD, transferred)
            task.update(2, 2)
        calling = choose_calling(
            request, data, evaluation, rows_of(latents_PF), states, transferred, progress,
            unit="protein",
        )  # fmt: skip
        tables = tests.tables(annotated, latents_PF)
        metrics = tests.metrics(tables, evaluation) | calling.metrics | data.leak.metrics()
        # Of all proteins: half of a proteome is too little to call a latent dead.
        metrics["dead_share"] = 1 - len(np.unique(latents_PF.indices)) / latents_PF.shape[1]
        row = model_row(
            bundle.name,
            encoder.sae,
            {"dead_share": metrics["dead_share"], "l0": latents_PF.nnz / latents_PF.shape[0]},
        )
        models = check_models([row], request.out / "quality-models", tracked)
        callable_concepts = callable_rows(calling.concepts, request.min_precision)
        metrics["n_concepts_callable"] = float(len(callable_concepts))
        new = write_evaluated(
            request, bundle, data, calling,
            # By depth, only the SAE's own: the baselines' are in the run.
            metrics={k: v for k, v in metrics.items() if "_share_at_depth_" not in k},
            features=_features(evaluation, tables["best"]),
            concepts=_concepts(calling.concepts, tables["terms"], annotated),
            extra={
                QUALITY_WARNINGS: warnings_in_words([checked, models]),
                **annotated.ontology_note(),
            },
        )  # fmt: skip
        calling.log(tracked, request.out)
        _log(tracked, request.out, new, evaluation, tables, metrics, encoder)
        model = registered(request, new, tracked)
        outcome = EvaluateProteinsOutcome(
            bundle=new.path,
            model=model,
            how=data.how,
            leak=data.leak.line(),
            summary=metrics,
            baselines=tests.rows,
            callable_concepts=callable_concepts,
            top_concepts=_top(calling.concepts, evaluation),
            promoted=False,
            level=tests.level,
            notes=annotated.terms.notes,
            n_tests=(annotated.layout.n_terms, tests.own.pairs.height),
            depths=tables["depths"].to_dicts(),
            classes=tables["classes"].to_dicts(),
            top_terms=tables["terms"].head(50).to_dicts(),
        )
        log_evaluation(tracked, outcome, (checked, models))
    return promoted(outcome, model) if request.promote and model else outcome


def _top(concepts: pl.DataFrame, evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the registered rows of the terms that single latents find, by F1 of the best one."""
    found = concepts.filter(
        pl.col("concept").is_in(evaluation.detection.pairs["concept"].implode())
    )
    return found.sort("f1", descending=True).to_dicts()


@dataclass(kw_only=True)
class _Tests:
    """What the methods found, in the order of the table; the SAE first."""

    level: float
    tested: dict[str, Confirmation]
    tied: dict[str, pl.DataFrame]
    rows: list[dict[str, Any]]

    @property
    def own(self) -> Confirmation:
        return self.tested[SAE]

    def add_detectors(
        self,
        request: EvaluateRequest,
        annotated: AnnotatedProteins,
        evaluation: Evaluation,
        means_PD: NDArray[np.float32],
        transferred: Transferred,
    ) -> None:
        """Count, by method, the terms that a single unit detects: the residue protocol."""
        from plmsae.concepts.baselines.control_latents import signed_units
        from plmsae.concepts.protein_evaluation import found_by_units

        data = annotated.data
        evaluated = evaluation.concepts["concept"]
        labels = data.labels.filter(pl.col("concept").is_in(evaluated.implode()))
        centre_D = means_PD[annotated.layout.select_P].mean(0)
        units = {"neuron": signed_units(means_PD, centre_D)}
        units |= {method: transferred.units_PC(method) for method in transferred.calls}
        found = {SAE: evaluation.detection} | {
            name: found_by_units(name, measured, data.accessions, labels, data.split)
            for name, measured in units.items()
        }
        for row in self.rows:
            if (detection := found.get(row["method"])) is not None:
                row["n_features"] = detection.n_features
                row["n_concepts"] = len(detection.concepts)

    def tables(
        self, annotated: AnnotatedProteins, latents_PF: csr_array
    ) -> dict[str, pl.DataFrame]:
        """Return what is written beside the bundle, by name."""
        from plmsae.concepts.enrichment import term_shares
        from plmsae.concepts.features.family_specificity import family_specificity

        own, tied = self.own, self.tied[SAE]
        known = annotated.terms.descriptions.drop("n_proteins")
        described = own.pairs.join(
            known, on=["concept", "namespace"], how="left", maintain_order="left"
        )

        terms = annotated.layout.terms_of(annotated.terms.descriptions)

        def shares(measure: Callable[..., pl.DataFrame]) -> pl.DataFrame:
            return pl.concat([measure(m, t, self.tied[m], terms) for m, t in self.tested.items()])

        report = np.flatnonzero(annotated.data.split == "report")
        return {
            "enrichment": described,
            "methods": pl.DataFrame(self.rows, infer_schema_length=None),
            "depths": shares(term_shares.share_by_depth),
            "namespaces": shares(term_shares.share_by_namespace),
            "information": shares(term_shares.share_by_information),
            "classes": term_shares.class_table(own, tied, annotated.ontology),
            "families": family_specificity(
                latents_PF[report], annotated.data.clusters[report], level=self.level
            ),
            "best": term_shares.best_terms(tied),
            "terms": _terms(tied),
        }

    def metrics(self, tables: dict[str, pl.DataFrame], evaluation: Evaluation) -> dict[str, float]:
        """Return everything as metrics; the SAE's without a prefix."""
        kept = dict(evaluation.summary)
        del kept["instances_iou_50"]  # A protein is found or not; there is no partly.
        for row in self.rows:
            prefix = "" if row["method"] == SAE else f"{row['method']}_"
            kept[f"{prefix}n_latents_enriched"] = row["n_tied"]
            kept[f"{prefix}share_latents_enriched"] = row["share"]
            kept[f"{prefix}n_terms_enriched"] = row["n_terms"]
            if row.get("n_concepts") is not None:
                kept[f"{row['method']}_concepts_f1_50"] = row["n_concepts"]
                kept[f"{row['method']}_features_f1_50"] = row["n_features"]
        kept["n_latents_enriched_3_families"] = self.rows[0]["n_tied_3_families"]
        specific = tables["families"].filter(pl.col("specific").fill_null(value=False))
        kept["n_latents_family_specific"] = specific.height
        kept["enrichment_level"] = self.level
        for row in tables["depths"].filter(pl.col("namespace") == ALL_GO).iter_rows(named=True):
            prefix = "" if row["method"] == SAE else f"{row['method']}_"
            kept[f"{prefix}share_at_depth_{row['depth']:02d}"] = row["share"]
        for row in tables["namespaces"].filter(pl.col("method") == SAE).iter_rows(named=True):
            kept[f"share_of_{row['namespace']}"] = row["share"]
        return {name: float(value) for name, value in kept.items() if math.isfinite(value)}


def _run_tests(
    request: EvaluateRequest,
    annotated: AnnotatedProteins,
    latents_PF: csr_array,
    means_PD: NDArray[np.float32],
    transferred: Transferred,
    progress: Progress,
) -> _Tests:
    """Run the SAE and its baselines through one protocol."""
    from plmsae.concepts.baselines.protein_baselines import (
        composition,
        matched_units,
        shuffle_within,
    )
    from plmsae.concepts.enrichment.enrichment import active_proteins
    from plmsae.concepts.enrichment.term_confirmation import choose_level, confirm_terms, lay_out
    from plmsae.concepts.enrichment.term_shares import summarise, tied_terms

    data, layout, seed = annotated.data, annotated.layout, request.seed
    with progress.task("testing latents for terms") as task:
        level, scale_F = choose_level(latents_PF, layout)
        active_PF = active_proteins(latents_PF, scale_F, level)
        tested = {SAE: confirm_terms(active_PF, layout)}
        task.update(1, 4)
        if request.baselines != "none":
            select_P = layout.select_P
            units = matched_units(means_PD, active_PF, select_P, seed=seed)
            tested["neuron"] = confirm_terms(units, layout)
            task.update(2, 4, "neurons")
            units = matched_units(composition(data.sequences), active_PF, select_P, seed=seed)
            tested["composition"] = confirm_terms(units, layout)
            task.update(3, 4, "composition")
            shuffled = lay_out(
                shuffle_within(annotated.terms.table, data.accessions, data.split, seed),
                data.accessions,
                data.split,
                data.clusters,
                min_proteins=request.min_instances,
            )
            tested["sae_shuffled_terms"] = confirm_terms(active_PF, shuffled)
        for method in transferred.calls:
            given_PC = (transferred.units_PC(method) > 0).astype(np.int32)
            tested[method] = confirm_terms(given_PC, layout)
        task.update(4, 4)
    tied = {m: tied_terms(t, annotated.terms.descriptions) for m, t in tested.items()}
    rows = [summarise(method, tested[method], tied[method]) for method in tested]
    return _Tests(level=level, tested=tested, tied=tied, rows=rows)


def _terms(tied: pl.DataFrame) -> pl.DataFrame:
    """Return one row per confirmed term: how many latents, and the one of lowest p, sorted by p."""
    key = ["concept", "namespace"]
    ordered = tied.sort("log10_p_select", "latent")
    lowest = ordered.unique(key, keep="first", maintain_order=True)
    count = tied.group_by(key).agg(pl.col("latent").n_unique().cast(pl.Int64).alias("n_latents"))
    return lowest.join(count, on=key).sort("log10_p", *key)


def _features(evaluation: Evaluation, best: pl.DataFrame) -> pl.DataFrame:
    """Return ``features.parquet``, with the best term of each latent by enrichment."""
    term = best.select(
        "latent",
        pl.col("concept").alias("term"),
        pl.col("name").alias("term_name"),
        pl.col("namespace").alias("term_namespace"),
        pl.col("depth").alias("term_depth"),
        pl.col("information").alias("term_information"),
        pl.col("fold").alias("term_fold"),
        pl.col("odds").alias("term_odds"),
        pl.col("q").alias("term_q"),
    )
    return evaluation.features.join(term, on="latent", how="left", maintain_order="left")


def _concepts(
    concepts: pl.DataFrame, terms: pl.DataFrame, annotated: AnnotatedProteins
) -> pl.DataFrame:
    """Return ``concepts.parquet``, with what is known of each term."""
    known = annotated.terms.descriptions.drop("n_proteins").unique("concept", maintain_order=True)
    count = terms.group_by("concept").agg(pl.col("n_latents").max().alias("n_latents_enriched"))
    joined = concepts.join(known, on="concept", how="left", maintain_order="left")
    joined = joined.join(count, on="concept", how="left", maintain_order="left")
    return joined.with_columns(pl.col("n_latents_enriched").fill_null(0))


def _protein_frame(annotated: AnnotatedProteins) -> pl.DataFrame:
    data = annotated.data
    return pl.DataFrame(
        {
            "accession": data.accessions,
            "length": [len(sequence) for sequence in data.sequences],
            "sequence": data.sequences,
        }
    )


def _log(
    tracked: Run,
    out: Path,
    bundle: Bundle,
    evaluation: Evaluation,
    tables: dict[str, pl.DataFrame],
    metrics: dict[str, float],
    encoder: Encoder,
) -> None:
    """Put tables, figures and metrics where MLflow shows them."""
    frames = {n: f for n, f in tables.items() if n != "best"}
    frames |= {
        "calls": evaluation.calls,
        "evidence": evaluation.evidence,
        "skipped": evaluation.skipped,
    }
    log_evaluated(tracked, out, bundle, metrics, frames)
    for path in draw(tables, out, transcoder=encoder.sae.config.is_transcoder):
        tracked.log_artifact(path, "figures")


def draw(tables: dict[str, pl.DataFrame], out: Path, *, transcoder: bool) -> list[Path]:
    """Draw the figures of an evaluation; return those there was something to draw for."""
    from plmsae.reports.plots_terms import plot_classes, plot_share_by, plot_top_terms

    def named(table: pl.DataFrame) -> pl.DataFrame:
        own = "transcoder" if transcoder else SAE
        return table.with_columns(pl.col("method").replace(SAE, own))

    made = []
    depths = tables["depths"].filter(pl.col("namespace") == ALL_GO)
    if depths["depth"].n_unique() > 1:
        made.append(
            plot_share_by(
                named(depths),
                "depth",
                out / "depth.png",
                title="Latents tied to a GO term, by its depth",
                label="depth of the term (longest way up to a root)",
            )
        )
    if tables["information"].height:
        made.append(
            plot_share_by(
                named(tables["information"]),
                "bits",
                out / "information.png",
                title="Latents tied to a term, by its information",
                label="at least this many bits (3 bits: one protein in eight has the term)",
            )
        )
    if tables["terms"].height:
        made.append(plot_top_terms(tables["terms"], out / "terms.png"))
    names = {"process": "processes", "family": "families", "enzyme": "enzymes"}
    for kind, name in names.items():
        rows = tables["classes"].filter(pl.col("kind") == kind)
        if rows.height:
            made.append(plot_classes(rows, out / f"{name}.png"))
    return made
