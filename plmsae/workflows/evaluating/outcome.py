"""What an evaluation found, in words and as plain data; and promotion of what it registered."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from plmsae.bundle.metric_names import HEADLINE, metric_name, metric_value
from plmsae.core.words import counted
from plmsae.tracking.runs import Run
from plmsae.tracking.summary import log_summary
from plmsae.workflows.evaluating.calling import calling_lines
from plmsae.workflows.evaluating.feature_properties import property_lines
from plmsae.workflows.evaluating.fidelity import Reconstruction
from plmsae.workflows.shared.inputs import quality_rows
from plmsae.workflows.shared.outcome import Outcome

if TYPE_CHECKING:
    import polars as pl

    from plmsae.quality.report import ValidationReport


_ABOUT = (
    "What the features of an SAE mean, chosen on one part of the proteins and measured on the "
    "other. Among the artifacts, evaluation holds the tables (features, concepts, calls, "
    "baselines), figures the plots, quality the pages of the gates."
)


@dataclass(frozen=True, kw_only=True)
class EvaluateOutcome(Outcome):
    """What the features mean."""

    bundle: Path
    model: str | None
    how: str
    """How the proteins were split."""
    summary: dict[str, float]
    baselines: list[dict[str, Any]]
    """One row per method: the columns of `headline.headline_table`."""
    top_concepts: list[dict[str, Any]]
    callable_concepts: list[dict[str, Any]]
    """Those whose calls reach the precision asked for, on held-out proteins."""
    promoted: bool
    leak: str = ""
    """How many homologous pairs the split parts, in words."""
    reconstruction: Reconstruction | None = None
    """How faithful the SAE is, where it is of residues."""

    def table(self) -> list[tuple[str, str]]:
        """Return what to see first: what, and how much or where."""
        # A class whose calls its members make would stand beside them as if it were another thing.
        own = [r["concept"] for r in self.top_concepts if r.get("implied_at") is None]
        best = ", ".join(own[:5])
        return [
            ("model", self.model or "not registered"),
            ("split", self.how),
            *(
                (metric_name(n).meaning, metric_value(n, self.summary[n]))
                for n in HEADLINE
                if n in self.summary
            ),
            *([("best concepts", best)] if best else []),
            ("bundle", str(self.bundle)),
        ]

    def lines(self) -> list[str]:
        """Return it in words."""
        lines = [
            f"{counted(self.summary['n_features_f1_50'], 'feature')} and "
            f"{counted(self.summary['n_concepts_f1_50'], 'concept')} at F1 > 0.5 on both splits "
            f"({self.how}); beyond chance "
            f"{counted(self.summary['n_features_beyond_chance'], 'feature')} and "
            f"{counted(self.summary['n_concepts_beyond_chance'], 'concept')}",
            f"  of {counted(self.summary['n_concepts'], 'concept')} common enough to be chosen and "
            f"judged; {int(self.summary['n_concepts_skipped']):,} are too rare",
        ]
        lines += _headline_lines(self.baselines)
        if self.reconstruction is not None:
            lines += self.reconstruction.lines()
        lines += property_lines(self.summary)
        if self.top_concepts:
            lines.append(
                "best concepts (F1 of one latent on held-out proteins, and its lift above a "
                "detector that always fires; precision of calls; 95 %):"
            )
        lines += [
            f"  {row['concept']:<44.44} {_f1(row):<30}  latent {row['best_latent']:<6} "
            f"{_calls(row)}"
            for row in self.top_concepts[:10]
        ]
        return lines + self.closing_lines("concept")

    def closing_lines(self, thing: str) -> list[str]:
        """Return how many concepts, here named `thing`, are called, and where the model is."""
        lines = [
            f"{counted(len(self.callable_concepts), thing)} can be called at the precision "
            "asked for; the others abstain",
            *calling_lines(self.summary),
            *([self.leak] if self.leak else []),
            f"registered as {self.model}" if self.model else f"bundle in {self.bundle}",
        ]
        if self.promoted:
            lines.append("promoted to champion")
        return lines


def log_evaluation(
    tracked: Run, outcome: EvaluateOutcome, checked: Sequence[ValidationReport]
) -> None:
    """Log the summary of an evaluation."""
    quality = quality_rows({report.kind: report.verdicts() for report in checked})
    title = f"Evaluation of {outcome.model or outcome.bundle}"
    log_summary(tracked, title, _ABOUT, [*outcome.table(), *quality])


AnyOutcome = TypeVar("AnyOutcome", bound=EvaluateOutcome)


def _headline_lines(rows: list[dict[str, Any]]) -> list[str]:
    import polars as pl

    from plmsae.concepts.baselines.headline import HEADLINE_SCHEMA, headline_lines

    return headline_lines(pl.DataFrame(rows, schema=HEADLINE_SCHEMA))


def _f1(row: dict[str, Any]) -> str:
    text = f"F1 {row['f1']:.2f}"
    if row.get("f1_low") is not None:
        text += f" [{row['f1_low']:.2f}, {row['f1_high']:.2f}]"
    return text if row.get("f1_lift") is None else f"{text} lift {row['f1_lift']:.2f}"


def _calls(row: dict[str, Any]) -> str:
    if row["call_precision"] is None:
        return "no calls"
    if row.get("implied_at") is not None:
        return "its members make its calls"
    low, high = row["call_precision_low"], row["call_precision_high"]
    by = "probe" if row["call_latent"] is None else f"latent {row['call_latent']}"
    return f"calls by {by}: precision {row['call_precision']:.2f} [{low:.2f}, {high:.2f}]"


def callable_rows(concepts: pl.DataFrame, min_precision: float) -> list[dict[str, Any]]:
    """Return the rows of the concepts that get calls of their own, the most precise first."""
    from plmsae.concepts.calling.calibration import called

    found = concepts.filter(called(concepts, min_precision))
    return found.sort("call_precision_low", descending=True).to_dicts()


def promoted(outcome: AnyOutcome, model: str) -> AnyOutcome:
    """Promote what was registered; if a gate is not met, the error brings the outcome along."""
    from plmsae.registry.promotion import GatesNotMetError, promote

    try:
        return dataclasses.replace(outcome, promoted=promote(model).promoted)
    except GatesNotMetError as error:
        error.outcome = outcome
        raise
