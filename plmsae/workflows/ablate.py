"""Find out which predictions of one protein need which latent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.tracking.runs import start_run
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import AblateRequest, request_params
from plmsae.workflows.shared.steered_model import open_steered_model

if TYPE_CHECKING:
    import polars as pl

_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class AblateOutcome:
    """Which predictions need which latent."""

    model_uri: str
    effects: pl.DataFrame
    """See `plmsae.steering.ablate`."""
    folder: Path

    def by_latent(self) -> list[dict[str, Any]]:
        """Return for each latent its largest KL and the residues that need it, most first."""
        import polars as pl

        found: list[dict[str, Any]] = []
        for (latent,), rows in self.effects.group_by("latent", maintain_order=True):
            needed = rows.filter("needed").sort("delta_log_p")
            peak = rows.sort("kl", descending=True).row(0, named=True)
            found.append(
                {
                    "latent": latent,
                    "n_active": rows.filter(pl.col("activation") > 0).height,
                    "kl_max": peak["kl"],
                    "kl_max_position": peak["position"],
                    "kl_control_there": peak["kl_control"],
                    "needed_by": needed["position"].to_list(),
                    "delta_log_p": needed["delta_log_p"].to_list(),
                }
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"model": self.model_uri, "latents": self.by_latent(), "folder": str(self.folder)}

    def lines(self) -> list[str]:
        """Return it in words."""
        letters = dict(self.effects.select("position", "residue").iter_rows())
        lines = []
        for row in self.by_latent():
            most = [
                f"{letters[position]}{position} ({delta:+.2f})"
                for position, delta in zip(row["needed_by"], row["delta_log_p"], strict=True)
            ]
            more = f" and {len(most) - _SHOWN} more" if len(most) > _SHOWN else ""
            needs = f"needed by {', '.join(most[:_SHOWN])}{more}" if most else "needed by none"
            lines.append(
                f"latent {row['latent']} (active at {row['n_active']}): KL up to "
                f"{row['kl_max']:.3g} nats at {row['kl_max_position']} (controls "
                f"{row['kl_control_there']:.3g}); {needs}"
            )
        return [*lines, "numbers: change of the residue's log probability, in nats",
                f"written to {self.folder}"]  # fmt: skip


def run(request: AblateRequest, progress: Progress) -> AblateOutcome:
    """Set latents to 0, one at a time, beside controls of the same size; log all to MLflow.

    Raises
    ------
    InputError
        If the model cannot be steered, or the sequence, positions or latents are wrong.
    """
    from plmsae.core.atomic import write_json
    from plmsae.reports.plots_of_steering import plot_ablation
    from plmsae.steering import ablate, open_prompt

    bundle, uri, encoder = open_steered_model(request.model, request.device)
    prompt = open_prompt(encoder, request.sequence, request.mask)
    with start_run(
        experiment="plmsae-ablate",
        run_name=f"ablate {bundle.name}",
        params=request_params(request, model=uri, sequence=prompt.sequence),
    ) as tracked:
        with progress.task("setting latents to 0") as task:
            effects = ablate(
                encoder,
                bundle.features,
                prompt,
                latents=request.latents,
                n_latents=request.n_latents,
                n_controls=request.n_controls,
                seed=request.seed,
                on_progress=task.update,
            )
        outcome = AblateOutcome(model_uri=uri, effects=effects, folder=request.out)
        request.out.mkdir(parents=True, exist_ok=True)
        effects.write_parquet(request.out / "ablation.parquet")
        plot_ablation(effects, request.out / "ablation.png")
        write_json(request.out / "ablation.json", outcome.to_json())
        for name in ("ablation.parquet", "ablation.png", "ablation.json"):
            tracked.log_artifact(request.out / name, "ablation")
        tracked.log_metrics(
            0,
            {
                "n_latents": effects["latent"].n_unique(),
                "needed_share": float(effects["needed"].mean() or 0.0),  # type: ignore[arg-type]
            },
        )
    return outcome
