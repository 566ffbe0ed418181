"""Set a latent to a value in one protein, beside controls of the same size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.tracking.runs import Run, start_run
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import SteerRequest, request_params
from plmsae.workflows.shared.steered_model import open_steered_model

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True)
class SteerOutcome:
    """What setting the latent did."""

    model_uri: str
    latent: int
    value: float
    target: str | None
    scale: float
    """What a value of 1 stands for, in the unit of activations."""
    before: tuple[float, float]
    """The latent's own mean and highest value at the steered residues."""
    comparison: pl.DataFrame
    """The feature beside its controls; see `plmsae.steering.larger_than`."""
    generated: pl.DataFrame | None
    folder: Path

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "model": self.model_uri,
            "latent": self.latent,
            "value": self.value,
            "target": self.target,
            "scale": self.scale,
            "value_before_mean": self.before[0],
            "value_before_max": self.before[1],
            "comparison": self.comparison.to_dicts(),
            "generated": None if self.generated is None else self.generated.to_dicts(),
            "folder": str(self.folder),
        }

    def lines(self) -> list[str]:
        """Return it in words."""
        mean, highest = self.before
        lines = [
            f"latent {self.latent} set to {self.value:g} of its maximum ({self.scale:.3g}); "
            f"before: {mean:.2f} on average, {highest:.2f} at most"
        ]
        lines += [_in_words(row, self.target) for row in self.comparison.iter_rows(named=True)]
        if self.generated is not None:
            names = {"none": "not steered", "feature": "steered"}
            for kind, number, filled in self.generated["kind", "number", "filled"].iter_rows():
                lines.append(f"{filled}  {names.get(kind) or f'control: {kind} {number}'}")
        return [*lines, f"written to {self.folder}"]


def _in_words(row: dict[str, Any], target: str | None) -> str:
    n = row["n_residues"]
    group = f"{'steered' if row['steered'] else 'other'}, {'masked' if row['masked'] else 'seen'}"
    text = f"{group} ({n} residue{'s' if n > 1 else ''}): KL {row['kl']:.3g} nats, "
    text += f"larger than {row['n_smaller']} of {row['n_controls']} random {row['control']}s "
    text += f"(median {row['kl_median']:.3g}, most {row['kl_max']:.3g})"
    if target is not None:
        text += f"; p({target.upper()}) {row['p_before']:.3f} to {row['p_after']:.3f} "
        text += f"(controls {row['p_low']:.3f} to {row['p_high']:.3f})"
    return text


def run(request: SteerRequest, progress: Progress) -> SteerOutcome:
    """Steer, measure the dose-response of the feature and its controls, and log all to MLflow.

    Raises
    ------
    InputError
        If the model cannot be steered, or the sequence, positions, latent or value are wrong.
    """
    from plmsae.steering import dose_response, generate, larger_than, open_feature, open_prompt
    from plmsae.steering.dose_response import DOSES, predictions, target_index
    from plmsae.steering.prompt import check_positions

    target_index(request.target)
    bundle, uri, encoder = open_steered_model(request.model, request.device)
    feature = open_feature(
        encoder, bundle.features, request.latent, n_controls=request.n_controls, seed=request.seed
    )
    prompt = open_prompt(encoder, request.sequence, request.mask)
    length = len(prompt.sequence)
    positions = check_positions(
        request.positions or range(1, length + 1), length, option="--positions"
    )
    with start_run(
        experiment="plmsae-steer",
        run_name=f"steer {bundle.name} latent {request.latent}",
        params=request_params(request, model=uri, sequence=prompt.sequence),
    ) as tracked:
        with progress.task(f"steering latent {request.latent}") as task:
            doses = dose_response(
                feature,
                prompt,
                positions,
                doses=(*DOSES, request.value),
                target=request.target,
                on_progress=task.update,
            )
        generated = None
        if request.generate != "none":
            with progress.task("generating"):
                generated = generate(
                    feature, prompt, request.value, positions,
                    order=request.generate, temperature=request.temperature, seed=request.seed,
                )  # fmt: skip
        before = feature.activations(prompt)[[p - 1 for p in positions]]
        outcome = SteerOutcome(
            model_uri=uri,
            latent=request.latent,
            value=request.value,
            target=request.target,
            scale=feature.scale,
            before=(float(before.mean()), float(before.max())),
            comparison=larger_than(doses, request.value),
            generated=generated,
            folder=request.out,
        )
        table = predictions(feature, prompt, request.value, positions)
        _write(outcome, doses, table, tracked)
    return outcome


def _write(
    outcome: SteerOutcome, doses: pl.DataFrame, predicted: pl.DataFrame, tracked: Run
) -> None:
    from plmsae.core.atomic import write_json
    from plmsae.reports.plots_of_steering import plot_dose_response

    out = outcome.folder
    out.mkdir(parents=True, exist_ok=True)
    doses.write_parquet(out / "dose_response.parquet")
    predicted.write_parquet(out / "predictions.parquet")
    paths = [out / "dose_response.parquet", out / "predictions.parquet"]
    if outcome.generated is not None:
        outcome.generated.write_parquet(out / "generated.parquet")
        paths.append(out / "generated.parquet")
    title = f"Latent {outcome.latent} of {outcome.model_uri}"
    paths.append(plot_dose_response(doses, out / "dose_response.png", title=title))
    write_json(out / "steering.json", outcome.to_json())
    for path in [*paths, out / "steering.json"]:
        tracked.log_artifact(path, "steering")
    for row in outcome.comparison.iter_rows(named=True):
        group = (
            f"{'steered' if row['steered'] else 'other'}_{'masked' if row['masked'] else 'seen'}"
        )
        control = f"{group}_random_{row['control']}"
        tracked.log_metrics(
            0,
            {
                f"{group}_kl": row["kl"],
                f"{control}_kl_median": row["kl_median"],
                f"{control}_share_smaller": row["n_smaller"] / row["n_controls"],
            },
        )
