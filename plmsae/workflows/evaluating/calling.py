"""Who calls each concept: probes beside latents, calibrated, chosen without the report proteins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from plmsae.concepts.calling.callers import BY_PROBE, Callers
from plmsae.core.atomic import write_parquet
from plmsae.core.errors import TooFewClustersError
from plmsae.core.words import counted
from plmsae.tracking.runs import Run
from plmsae.workflows.evaluating.annotated import Annotated
from plmsae.workflows.evaluating.class_calls import measure_left_over
from plmsae.workflows.evaluating.label_transfer import EMBEDDING, HOMOLOGY, Transferred
from plmsae.workflows.shared.progress import Progress, step
from plmsae.workflows.shared.requests import EvaluateRequest

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from plmsae.concepts.association.evidence import Split
    from plmsae.concepts.evaluation import Evaluation

MODEL = "model"
_WHOSE = {
    "": "calls",
    f"{HOMOLOGY}_": "labels of the best hit",
    f"{EMBEDDING}_": "labels of the nearest mean embedding",
}
"""What the metrics of accuracy by distance begin with, and whose they are."""


@dataclass(frozen=True, kw_only=True)
class Calling:
    """What is registered of the annotator, and how it was found."""

    concepts: pl.DataFrame
    """``concepts.parquet``."""
    callers: Callers = field(default_factory=Callers)
    metrics: dict[str, float] = field(default_factory=dict)
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    """By the name of the file that they become."""

    def log(self, tracked: Run, out: Path) -> None:
        """Write tables and figure beside the bundle, and log them."""
        from plmsae.reports.plots_of_calls import plot_reliability

        for name, frame in self.tables.items():
            path = out / f"{name}.parquet"
            write_parquet(path, frame)
            tracked.log_table(path, "evaluation")
        if "reliability" in self.tables:
            plot_reliability(self.tables["reliability"], out / "reliability.png")
            tracked.log_artifact(out / "reliability.png", "figures")

    def lines(self) -> list[str]:
        """Return it in words."""
        return calling_lines(self.metrics)


def calling_lines(metrics: dict[str, float]) -> list[str]:
    """Return the metrics of calls in words."""
    lines = []
    if metrics.get("n_probes_fitted"):
        lines.append(
            f"{counted(metrics['n_probes_fitted'], 'probe')} fitted; probes call "
            f"{counted(metrics['n_concepts_probe'], 'concept')}, single latents the others"
        )
    if "probe_ap" in metrics and "raw_probe_ap" in metrics:
        lines.append(
            f"average precision (F1) over {counted(metrics['n_probes_compared'], 'concept')}: "
            f"best latent {_ap_and_f1(metrics, 'latent')}, probe {_ap_and_f1(metrics, 'probe')} of "
            f"{metrics['probe_size']:.0f} latents, the same on raw activations "
            f"{_ap_and_f1(metrics, 'raw_probe')} of {metrics['raw_probe_size']:.0f} units"
        )
    for prefix, whose in _WHOSE.items():
        start, end = f"{prefix}identity_", "_precision"
        bins = [
            name.removeprefix(start).removesuffix(end)
            for name in metrics
            if name.startswith(start) and name.endswith(end)
        ]
        if bins:
            words = {b: "no homologue" if b == "none" else f"{b} %" for b in bins}
            shown = ", ".join(
                f"{words[b]} {metrics[f'{start}{b}_precision']:.2f}"
                f" of {metrics[f'{start}{b}_n_calls']:,.0f}"
                for b in bins
            )
            lines.append(
                f"precision of {whose}, {_over(metrics)}, by identity to the nearest labelled "
                f"protein chosen on: {shown}"
            )
    if "ece" in metrics:
        lines.append(f"calibration error of calls on held-out proteins (ECE) {metrics['ece']:.3f}")
    return lines


def _over(metrics: dict[str, float]) -> str:
    """Say of which concepts the accuracy by distance is."""
    n = int(metrics["n_concepts_by_distance"])
    some = "concept" if n == 1 else counted(n, "concept")
    if "model_calls_precision" in metrics:
        return f"over the {some} called"
    return f"over the {some} evaluated, because none is called"


def _ap_and_f1(metrics: dict[str, float], name: str) -> str:
    return f"{metrics[f'{name}_ap']:.2f} ({metrics[f'{name}_f1']:.2f})"


def choose_calling(
    request: EvaluateRequest,
    data: Annotated,
    evaluation: Evaluation,
    latents: Sequence[csr_array],
    states: Sequence[NDArray[np.floating]],
    transferred: Transferred,
    progress: Progress,
    *,
    unit: str = "residue",
) -> Calling:
    """Choose who calls each concept, calibrate the calls, and judge both on report.

    Parameters
    ----------
    request : EvaluateRequest
        `probes`, `min_precision` and `seed` are read.
    evaluation : Evaluation
        With an annotator.
    latents, states : sequence
        Of every protein: latents, and raw activations (may be empty, then the same probe on raw
        activations is left out).
    transferred : Transferred
        Labels of the nearest labelled proteins, which are judged beside the calls.
    unit : str
        ``protein`` where each protein is one row.
    """
    from plmsae.concepts.calling.calibration import called
    from plmsae.concepts.calling.call_calibration import judge, make_calls
    from plmsae.concepts.calling.caller_selection import choose_callers, inner_folds
    from plmsae.concepts.calling.threshold_tuning import registered_concepts

    if evaluation.annotator is None:
        return Calling(concepts=evaluation.concepts)
    plain = Calling(
        concepts=registered_concepts(
            evaluation.concepts, evaluation.annotator.frame, request.min_precision
        ),
        callers=Callers(segments=evaluation.annotator.segments),
        tables={"annotator": evaluation.annotator.frame},
    )
    select, report, at = _splits(data, evaluation, latents, unit)
    try:
        fold_P = inner_folds(np.asarray(select.clusters), request.seed)
    except TooFewClustersError as error:
        progress.say(f"no probes and no calibration: {error.what}")
        return plain
    scale_F = evaluation.features["max_activation"].to_numpy().astype(np.float32)
    tables, metrics = {}, {}
    annotator, probes = evaluation.annotator.frame, {}
    segments = evaluation.annotator.segments
    if request.probes:
        with step(progress, "fitting probes"):
            choice = choose_callers(
                select, report, scale_F, evaluation.concepts, evaluation.annotator, fold_P,
                min_precision=request.min_precision, seed=request.seed,
            )  # fmt: skip
        annotator, probes, segments = choice.annotator, choice.probes, choice.segments
        tables["callers"] = choice.comparison
        metrics["n_probes_fitted"] = float(choice.comparison.height)
        if len(states) and choice.comparison.height:
            with step(progress, "fitting the same probes on raw activations"):
                rivals = _rivals(select, report, fold_P, at, states, scale_F, evaluation,
                                 choice.comparison, request.seed, unit)  # fmt: skip
            tables["probes"] = rivals
            metrics |= _means(rivals)
    concepts = registered_concepts(evaluation.concepts, annotator, request.min_precision)
    tables["annotator"] = annotator
    metrics["n_concepts_probe"] = float((concepts["caller"] == BY_PROBE).sum())
    with step(progress, "calibrating calls"):
        callers = _calibrated(
            request, concepts, Callers(probes=probes, segments=segments), select, fold_P, scale_F
        )
        concepts = measure_left_over(concepts, callers, report, scale_F, request.min_precision)
        judged = judge(concepts, callers, report, scale_F)
    tables["reliability"] = judged.curve
    if math.isfinite(judged.ece):
        metrics["ece"] = judged.ece
    speaking = concepts.filter(called(concepts, request.min_precision))
    if speaking.height or transferred.calls:
        with step(progress, "measuring accuracy by distance"):
            made = {MODEL: make_calls(speaking, callers, report, scale_F)}
            made |= {name: _on_report(own, at) for name, own in transferred.calls.items()}
            # Where the model may call nothing, the others show what there is to call.
            names = speaking["concept"] if speaking.height else concepts["concept"]
            tables["distance"] = _by_distance(
                made, names, report, transferred.identity_P[at["report"]]
            )
        metrics |= {"n_concepts_by_distance": float(len(names))}
        metrics |= _distance_metrics(tables["distance"])
    return Calling(concepts=concepts, callers=callers, metrics=metrics, tables=tables)


def _calibrated(
    request: EvaluateRequest,
    concepts: pl.DataFrame,
    callers: Callers,
    select: Split,
    fold_P: NDArray[np.str_],
    scale_F: NDArray[np.float32],
) -> Callers:
    """Return the callers with calibrators, without the probes that call nothing."""
    from plmsae.concepts.calling.call_calibration import calibrators_of, fit_calibrators
    from plmsae.concepts.calling.caller_selection import take
    from plmsae.concepts.calling.crossfit import crossfit_calls

    names, seed = _by_probe(concepts), request.seed
    by_probe = pl.col("concept").is_in(names)
    held_out = take(select, np.flatnonzero(fold_P != "fit"))
    calibrators = fit_calibrators(
        concepts.filter(by_probe), dict(callers.probes), held_out, scale_F,
        segments=callers.segments, seed=seed,
    )  # fmt: skip
    # A latent looks better than it is on the proteins that it was chosen on.
    calls = crossfit_calls(
        concepts, select, scale_F, min_precision=request.min_precision, seed=seed
    )
    calibrators |= calibrators_of(calls.filter(~by_probe), select, seed=seed)
    used = {name: probe for name, probe in callers.probes.items() if name in names}
    return Callers(probes=used, calibrators=calibrators, segments=callers.segments)


def _on_report(calls: pl.DataFrame, at: dict[str, NDArray[np.int64]]) -> pl.DataFrame:
    """Return the calls on report proteins, which are then numbered among themselves."""
    number = pl.DataFrame({"protein": at["report"]}).with_row_index("number")
    on_report = calls.join(number, on="protein", how="inner", maintain_order="left")
    return on_report.with_columns(protein=pl.col("number").cast(pl.Int64)).drop("number")


def _by_distance(
    made: dict[str, pl.DataFrame], names: pl.Series, report: Split, identity_P: NDArray[np.float64]
) -> pl.DataFrame:
    """Count the calls of some concepts by each method, by nearness to labelled select proteins."""
    from plmsae.concepts.calling.distance import accuracy_by_distance
    from plmsae.concepts.calling.matching import match_calls

    called = np.isin(report.labels.concepts, names.to_list())
    labels = report.labels.keep_concepts(called)
    parts = []
    for method, calls in made.items():
        own = calls.filter(pl.col("concept").is_in(names.implode()))
        table = accuracy_by_distance(
            own["protein"],
            match_calls(own, labels),
            labels,
            identity_P,
            clusters_P=report.clusters,
        )
        parts.append(table.select(pl.lit(method).alias("method"), pl.all()))
    return pl.concat(parts)


def _distance_metrics(table: pl.DataFrame) -> dict[str, float]:
    """Return precision and recall by method and bin, and of all bins together by method."""
    metrics: dict[str, float] = {}
    for row in table.iter_rows(named=True):
        prefix = "" if row["method"] == MODEL else f"{row['method']}_"
        metrics |= {
            f"{prefix}identity_{row['bin']}_{name}": float(row[name])
            for name in ("precision", "recall", "n_calls")
            if row[name] is not None
        }
    counts = ["n_calls", "n_right", "n_instances", "n_found"]
    for row in table.group_by("method").agg(pl.col(counts).sum()).iter_rows(named=True):
        if row["n_calls"]:
            metrics[f"{row['method']}_calls_precision"] = row["n_right"] / row["n_calls"]
        if row["n_instances"]:
            metrics[f"{row['method']}_calls_recall"] = row["n_found"] / row["n_instances"]
    return metrics


def _by_probe(concepts: pl.DataFrame) -> set[str]:
    return set(concepts.filter(pl.col("caller") == BY_PROBE)["concept"])


def _splits(
    data: Annotated, evaluation: Evaluation, latents: Sequence[csr_array], unit: str
) -> tuple[Split, Split, dict[str, NDArray[np.int64]]]:
    """Return select and report with the evaluated concepts, and the indices of their proteins."""
    from plmsae.concepts.association.evidence import Split
    from plmsae.concepts.labels.residue_labels import build_residue_labels

    names = evaluation.concepts["concept"]
    labels = build_residue_labels(
        data.labels.filter(pl.col("concept").is_in(names.implode())),
        data.accessions,
        [1 if unit == "protein" else len(s) for s in data.sequences],
    )
    at = {name: np.flatnonzero(data.split == name) for name in ("select", "report")}
    clusters = {name: data.clusters[index] for name, index in at.items()}
    select, report = (
        Split(
            latents=[latents[int(i)] for i in at[name]],
            labels=labels.take(at[name]),
            clusters=clusters[name],
        )
        for name in ("select", "report")
    )
    return select, report, at


def _rivals(
    select: Split,
    report: Split,
    fold_P: NDArray[np.str_],
    at: dict[str, NDArray[np.int64]],
    states: Sequence[NDArray[np.floating]],
    scale_F: NDArray[np.float32],
    evaluation: Evaluation,
    comparison: pl.DataFrame,
    seed: int,
    unit: str,
) -> pl.DataFrame:
    from plmsae.concepts.baselines.probe_baseline import MAX_CONCEPTS, compare_probes
    from plmsae.concepts.calling.caller_selection import take

    index = {name: np.flatnonzero(fold_P == name) for name in ("fit", "tune")}
    folds = {name: take(select, members) for name, members in index.items()} | {"report": report}
    proteins = {name: at["select"][members] for name, members in index.items()}
    proteins["report"] = at["report"]
    raw: dict[str, Sequence[Any]] = {
        name: [states[int(i)] for i in members] for name, members in proteins.items()
    }
    ids = evaluation.concepts.with_row_index("id").join(
        comparison.select("concept"), on="concept", how="semi"
    )
    # The commonest, because these are measured most exactly.
    ids = ids.sort("n_instances", "concept", descending=[True, False])
    # Proteins are so few rows that every concept with a probe can be compared.
    most = comparison.height if unit == "protein" else MAX_CONCEPTS
    only = ids["id"].to_list()
    return compare_probes(
        folds, raw, scale_F, evaluation.concepts, only, max_concepts=most, seed=seed
    )


def _means(rivals: pl.DataFrame) -> dict[str, float]:
    """Return the means over the concepts for which every rival was found."""
    complete = rivals.drop_nulls()
    if not complete.height:
        return {}
    measured = [name for name in rivals.columns if name != "concept"]
    means = {name: float(np.mean(complete[name].to_numpy())) for name in measured}
    return means | {"n_probes_compared": float(complete.height)}
