"""What comes of training: bundles, registered if that was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.bundle.meta import PLM_FOLDER, QUALITY_WARNINGS, TRAIN_RUN, BundleMeta
from plmsae.bundle.reading import Bundle
from plmsae.bundle.schema import CONCEPTS_SCHEMA, empty_frame
from plmsae.bundle.writing import write_bundle
from plmsae.core.atomic import write_json
from plmsae.plm.catalogue import own_folder
from plmsae.tracking.environment import system_facts
from plmsae.tracking.runs import Run
from plmsae.tracking.summary import log_summary
from plmsae.workflows.shared.inputs import ProteinSet, quality_rows
from plmsae.workflows.shared.requests import TrainRequest
from plmsae.workflows.training.plan import PlannedSae

if TYPE_CHECKING:
    import polars as pl

    from plmsae.plm.model import Plm
    from plmsae.quality.report import ValidationReport
    from plmsae.sae.base import Sae
    from plmsae.sae.run import TrainResult


_ABOUT = (
    "Sparse autoencoders trained on the activations of a PLM and measured on proteins held out. "
    "What their features mean, plmsae evaluate finds. The curves are among the metrics, the pages "
    "of the quality gates among the artifacts, the SAEs themselves in the folder below."
)


@dataclass(frozen=True, kw_only=True)
class TrainOutcome:
    """One trained SAE."""

    layer: int
    k: int | None
    """Active latents asked for."""
    bundle: Path
    model: str | None
    """``NAME/version`` if it was registered."""
    metrics: dict[str, float]
    throughput: dict[str, float]
    """``vectors_per_second`` and ``stall_share`` (the part of the wall time that the trainer waited
    for batches) from the first batch to the last step; empty if nothing was left to train."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "layer": self.layer,
            "k": self.k,
            "bundle": str(self.bundle),
            "model": self.model,
            "metrics": self.metrics,
            "pace": self.throughput,  # The name that readers of train.json know.
        }

    def _measured(self) -> str:
        names = ("explained_variance", "l0", "train_dead_share", "loss_recovered")
        return ", ".join(
            f"{name.removeprefix('train_').replace('_', ' ')} {self.metrics[name]:.3g}"
            for name in names
            if name in self.metrics
        )

    def table(self) -> list[tuple[str, str]]:
        """Return what to see first: what, and how much or where."""
        name = f"layer {self.layer}" + ("" if self.k is None else f", k {self.k}")
        return [(name, self._measured()), (f"{name}: model", self.model or "not registered")]

    def lines(self) -> list[str]:
        """Return it in words."""
        shown = self._measured()
        where = f"registered as {self.model}" if self.model else f"bundle in {self.bundle}"
        k = "" if self.k is None else f", k {self.k}"
        lines = [f"layer {self.layer}{k}: {shown}", f"  {where}"]
        if self.throughput:
            lines.append(
                f"  {self.throughput['vectors_per_second']:,.0f} vectors/s, "
                f"{self.throughput['stall_share']:.1%} of the time spent waiting for batches"
            )
        return lines


def write_trained(
    request: TrainRequest,
    recipe: dict[str, Any],
    proteins: ProteinSet,
    plm: Plm,
    part: PlannedSae,
    sae: Sae,
    features: pl.DataFrame,
    metrics: dict[str, float],
    *,
    run_id: str,
    warnings: str,
) -> Bundle:
    """Write the bundle of an SAE that has no evidence yet."""
    facts = {**recipe, "k": part.k}
    return write_unevaluated_bundle(
        request.out / part.name,
        sae,
        features,
        metrics,
        plm=plm.id,
        plm_revision=plm.revision,
        plm_vocabulary=plm.vocabulary.fingerprint,
        layer=part.layer,
        unit=request.unit,
        train_data=proteins.fingerprint,
        seed=request.seed,
        target_layer=part.target,
        extra={
            TRAIN_RUN: run_id,
            QUALITY_WARNINGS: warnings,
            **{f"recipe.{k}": v for k, v in facts.items() if k != "about"},
            **remembered_plm(request.plm, request.plm_revision),
        },
    )


def remembered_plm(name: str, revision: str | None) -> dict[str, str]:
    """Return what a bundle remembers of a PLM of the user's own: its folder."""
    folder = own_folder(name, revision)
    return {} if folder is None else {PLM_FOLDER: folder}


def write_unevaluated_bundle(
    folder: Path, sae: Sae, features: pl.DataFrame, metrics: Mapping[str, float], **facts: Any
) -> Bundle:
    """Write ``folder/bundle`` of an SAE that has no concepts yet.

    Parameters
    ----------
    folder : Path
        Also gets the SAE alone, as ``sae``.
    metrics : mapping of str to float
        Those that are not finite are left out.
    **facts
        What `BundleMeta` needs and the SAE does not know: the PLM, the layer, the origin …
    """
    sae.cpu().save(folder / "sae")
    meta = BundleMeta(
        arch=sae.config.arch,
        target=sae.config.target,
        d_in=sae.config.d_in,
        d_sae=sae.config.d_sae,
        k=sae.config.k,
        metrics={name: v for name, v in metrics.items() if math.isfinite(v)},
        versions={k: v for k, v in system_facts().items() if not k.startswith("sys.")},
        **facts,
    )
    return write_bundle(
        folder / "bundle",
        sae_folder=folder / "sae",
        meta=meta,
        features=features,
        concepts=empty_frame(CONCEPTS_SCHEMA),
    )


def log_trained(
    tracked: Run,
    request: TrainRequest,
    proteins: ProteinSet,
    outcomes: Sequence[TrainOutcome],
    checked: Sequence[ValidationReport],
) -> None:
    """Log the summary of a training run."""
    data = proteins.fingerprint
    table = [
        ("proteins", f"{data.n_proteins:,}, {data.n_residues:,} residues, of {data.source}"),
        *(row for outcome in outcomes for row in outcome.table()),
        *quality_rows({report.kind: report.verdicts() for report in checked}),
        ("bundles", str(request.out)),
    ]
    log_summary(tracked, f"SAEs of {request.plm}", _ABOUT, table)


def throughput_of(result: TrainResult) -> dict[str, float]:
    """Return how fast a training was, by the names of `TrainOutcome.throughput`."""
    throughput = result.throughput
    if not throughput.vectors:
        return {}
    return {
        "vectors_per_second": throughput.vectors_per_second,
        "stall_share": throughput.stall_share,
    }


def outcome_of(
    request: TrainRequest,
    part: PlannedSae,
    bundle: Bundle,
    metrics: dict[str, float],
    throughput: dict[str, float],
    tracked: Run,
) -> TrainOutcome:
    """Register the bundle, if asked to, and leave the outcome beside it as ``train.json``."""
    model = None
    if request.register:
        from plmsae.registry.models import register

        model = str(register(bundle, run_id=tracked.run_id))
    outcome = TrainOutcome(
        layer=part.layer,
        k=part.k,
        bundle=bundle.path,
        model=model,
        metrics=metrics,
        throughput=throughput,
    )
    write_json(request.out / part.name / "train.json", outcome.to_json())
    return outcome
