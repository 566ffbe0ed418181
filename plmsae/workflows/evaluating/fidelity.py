"""What the reconstruction keeps of what the PLM computes, on proteins of the report split."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plmsae.core.atomic import write_parquet
from plmsae.tracking.runs import Run
from plmsae.workflows.evaluating.annotated import Annotated
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import EvaluateRequest

if TYPE_CHECKING:
    import polars as pl
    from scipy.sparse import csr_array
    from torch import Tensor

    from plmsae.encode import Encoder
    from plmsae.sae.groups import GroupVariance

DENSE = 0.1
"""A latent that is active on more than this share of residues is dense."""


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """How faithful the SAE is."""

    metrics: dict[str, float]
    """On the sample: ``explained_variance``, ``fvu``, ``explained_variance_within`` (of what is
    left when the amino acid is known), ``activation_scale``, ``bad_activation_share``,
    ``loss_recovered`` and ``loss_recovered_mean`` (the other end is zero-ablation, mean-ablation),
    ``ce_own``, ``ce_replaced``, ``kl``, at masked positions; ``…_unmasked`` at all positions. On
    the whole report split: ``l0``, ``dense_share``, ``silent_share`` (latents that never fire
    there)."""
    by_residue: pl.DataFrame | None = None
    """``residue``, ``n_residues``, ``explained_variance``, ``explained_variance_within``."""
    n_proteins: int = 0
    skipped: tuple[str, ...] = field(default=())
    """What was not measured, and why, in words."""

    def lines(self) -> list[str]:
        """Return it in words."""
        m = self.metrics
        lines = []
        if "explained_variance" in m:
            text = f"reconstruction of {self.n_proteins} report proteins: "
            text += f"{m['explained_variance']:.1%} of the variance"
            if "loss_recovered" in m:
                text += f"; loss recovered {m['loss_recovered']:.1%} at masked positions"
                text += f" ({m['loss_recovered_mean']:.1%} from mean-ablation)"
                text += f", {m['loss_recovered_unmasked']:.1%} at all; KL {m['kl']:.3f} nats"
            lines.append(text)
        lines.append(
            f"{m['l0']:.1f} latents active per residue; {m['dense_share']:.1%} dense (on more than "
            f"{DENSE:.0%} of residues), {m['silent_share']:.1%} silent"
        )
        return lines + [f"not measured: {reason}" for reason in self.skipped]

    def measured(self) -> dict[str, float]:
        """Return the metrics for the quality gate: NaN is what was measured and is no number."""
        nothing = {"explained_variance": math.nan} if self.n_proteins else {}
        return nothing | self.metrics

    def report_metrics(self) -> dict[str, float]:
        """Return the metrics as ``report_…``: those of training are of other proteins."""
        return {f"report_{name}": value for name, value in self.metrics.items()}

    def if_unmeasured(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return the metrics for a model that was never measured, such as an imported one."""
        return {} if "explained_variance" in metrics else dict(self.metrics)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        frame = self.by_residue
        return {
            **{k: v for k, v in dataclasses.asdict(self).items() if k != "by_residue"},
            "by_residue": [] if frame is None else frame.to_dicts(),
        }


def wants_head(request: EvaluateRequest) -> bool:
    """Say whether the PLM should be opened with its language-modelling head."""
    return request.fidelity_proteins > 0


def measure_reconstruction(
    request: EvaluateRequest,
    data: Annotated,
    encoder: Encoder,
    latents: list[csr_array],
    progress: Progress,
) -> Reconstruction:
    """Measure the reconstruction on a sample of report proteins, and the latents on all of them.

    What cannot be measured (a transcoder, a PLM without a language-modelling head) is left out,
    with the reason.
    """
    report = np.flatnonzero(data.split == "report")
    metrics = _latent_statistics([latents[i] for i in report], encoder.sae.config.d_sae)
    if request.fidelity_proteins < 1:
        return Reconstruction(metrics=metrics, skipped=("the reconstruction: not asked for",))
    if encoder.sae.config.is_transcoder:
        reason = "the reconstruction: a transcoder does not reconstruct the layer it reads"
        return Reconstruction(metrics=metrics, skipped=(reason,))
    order = np.random.default_rng([request.seed, 13]).permutation(report)
    sample = [data.sequences[i] for i in order[: request.fidelity_proteins]]
    with progress.task("measuring the reconstruction") as task:
        variance, frame = _by_residue(encoder, sample)
        metrics |= {
            "explained_variance": variance.explained,
            "explained_variance_within": variance.explained_within,
            "fvu": 1 - variance.explained,
            "activation_scale": variance.scale,
            "bad_activation_share": variance.n_bad / int(variance.count_G.sum()),
        }
        skipped: tuple[str, ...] = ()
        if encoder.plm.masked_lm is None:
            skipped = (f"loss recovered: {encoder.plm.id} has no language-modelling head",)
        else:
            for number, masked in enumerate((True, False), start=1):
                task.update(number, 3)
                metrics |= _spliced(encoder, sample, variance.mean_D, masked=masked)
        task.update(3, 3)
    return Reconstruction(
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
        by_residue=frame,
        n_proteins=len(sample),
        skipped=skipped,
    )


def _latent_statistics(latents: list[csr_array], d_sae: int) -> dict[str, float]:
    from plmsae.concepts.latents import firing_rates

    rate_F = firing_rates(latents, d_sae)
    return {
        "l0": float(rate_F.sum()),
        "dense_share": float((rate_F > DENSE).mean()),
        "silent_share": float((rate_F == 0).mean()),
    }


def _by_residue(encoder: Encoder, sample: list[str]) -> tuple[GroupVariance, pl.DataFrame]:
    import polars as pl

    from plmsae.concepts.association.residue_control import LETTERS, residue_codes
    from plmsae.sae.groups import variance_by_group

    def chunks() -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
        for index, states in encoder.plm.activations(sample, [encoder.layer]):
            yield states[encoder.layer], residue_codes([sample[index]])

    variance = variance_by_group(encoder.sae, chunks(), LETTERS)
    frame = pl.DataFrame(
        {
            "residue": [chr(65 + code) for code in range(LETTERS)],
            "n_residues": variance.count_G,
            "explained_variance": variance.explained_G,
            "explained_variance_within": variance.explained_within_G,
        }
    )
    present = frame.filter(pl.col("n_residues") > 0)
    return variance, present.with_columns(pl.col(pl.Float64).fill_nan(None))


def _spliced(
    encoder: Encoder, sample: list[str], mean_D: NDArray[np.float64], *, masked: bool
) -> dict[str, float]:
    import torch

    from plmsae.plm.fidelity import fidelity

    result = fidelity(
        encoder.plm,
        sample,
        encoder.layer,
        encoder.sae.reconstruct,
        masked=masked,
        mean_D=torch.from_numpy(mean_D),
    )
    mean = result.loss_recovered_mean
    suffix = "" if masked else "_unmasked"
    return {
        f"loss_recovered{suffix}": result.loss_recovered,
        f"loss_recovered_mean{suffix}": float("nan") if mean is None else mean,
        f"ce_own{suffix}": result.own,
        f"ce_replaced{suffix}": result.replaced,
        f"kl{suffix}": result.kl,
    }


def log_reconstruction(tracked: Run, found: Reconstruction, out: Path) -> None:
    """Write and log what there is by residue type; nothing if it was not measured."""
    from plmsae.reports.plots_of_residues import plot_variance_by_residue

    if found.by_residue is None:
        return
    write_parquet(out / "variance_by_residue.parquet", found.by_residue)
    tracked.log_table(out / "variance_by_residue.parquet", "evaluation")
    plot_variance_by_residue(found.by_residue, out / "variance_by_residue.png")
    tracked.log_artifact(out / "variance_by_residue.png", "figures")
