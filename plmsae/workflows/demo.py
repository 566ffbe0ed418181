"""Every step on real proteins: train, evaluate, register, score, fill, report.

Every station is the workflow that a user calls on proteins of their own. The proteins are a sample
of Swiss-Prot that ships: an SAE is trained on a part of it, concepts are chosen on yeast and
measured on B. subtilis, and other families of B. subtilis are scored. Of those, known labels are
hidden and it is counted how many come back.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from plmsae.bundle.metric_names import HEADLINE
from plmsae.core.programs import activation_line
from plmsae.core.stopping import kept_if_stopped
from plmsae.tracking.runs import start_run
from plmsae.tracking.store import ui_command
from plmsae.tracking.summary import NOTE, log_summary
from plmsae.workflows import evaluate, fill, report, score, train
from plmsae.workflows.evaluating.outcome import EvaluateOutcome
from plmsae.workflows.shared.device import check_device
from plmsae.workflows.shared.progress import Progress, step
from plmsae.workflows.shared.requests import (
    DemoRequest,
    EvaluateRequest,
    FillRequest,
    ReportRequest,
    ScoreRequest,
    TrainRequest,
    request_params,
)
from plmsae.workflows.shared.swissprot_sample import SampleTables, write_sample_tables

_EXAMPLES = 3
_TRAINED = ("explained_variance", "loss_recovered", "l0")
_ABOUT = (
    "An SAE trained on proteins of Swiss-Prot, evaluated on yeast and B. subtilis, registered, and "
    "applied to B. subtilis proteins of other families. Each step is a run below this one; "
    "summary.html among the artifacts holds the results in words."
)


@dataclass(frozen=True, kw_only=True)
class DemoOutcome:
    """What the demo did, station by station."""

    out: Path
    seconds: float
    tables: SampleTables
    trained: train.TrainOutcome
    evaluated: EvaluateOutcome
    scored: score.ScoreOutcome
    filled: fill.FillOutcome
    reported: report.ReportOutcome
    gates: str
    """Whether the promotion gates were met, in words."""
    ui: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        stations = ("trained", "evaluated", "scored", "filled", "reported")
        return {
            "out": str(self.out),
            "seconds": round(self.seconds, 1),
            **{name: getattr(self, name).to_json() for name in stations},
            "gates": self.gates,
            "ui": self.ui,
        }

    def table(self) -> list[tuple[str, str]]:
        """Return the closing table: what, and how much or where."""
        tables, summary = self.tables, self.evaluated.summary
        recovered = self.trained.metrics.get("loss_recovered")
        loss = "" if recovered is None else f"{recovered:.1%} of the loss, "
        return [
            (
                "real proteins",
                f"{tables.n_choose:,} of yeast to choose concepts on, {tables.n_report:,} of "
                f"B. subtilis to measure them on, {tables.n_held_back:,} of other families held "
                "back",
            ),
            (
                "SAE",
                f"{self.trained.metrics['explained_variance']:.1%} of the variance, {loss}"
                f"{self.trained.metrics['l0']:.0f} active latents per residue",
            ),
            *(
                (name, _beside(summary, key))
                for name, key in (
                    ("features with a concept", "features"),
                    ("concepts found", "concepts"),
                )
            ),
            (
                "held-back proteins scored",
                f"{self.scored.n_scored:,} proteins, {self.scored.n_annotations:,} annotations",
            ),
            *((f"labels hidden {how}", text) for how, text in self._backtest()),
            ("model", f"{self.evaluated.model} @champion"),
            ("promotion gates", self.gates),
            ("annotations", str(self.scored.folder)),
            ("proposals", str(self.filled.folder / "proposals.tsv")),
            ("quality report", str(self.out / "scores-quality" / "output" / "summary.html")),
            ("feature reports", str(self.reported.pages["html"])),
            ("time", f"{self.seconds / 60:.1f} minutes"),
        ]

    def metrics(self) -> dict[str, float]:
        """Return the closing table's numbers, as metrics of the run."""
        trained, summary = self.trained.metrics, self.evaluated.summary
        return {
            **{f"train/{k}": trained[k] for k in _TRAINED if k in trained},
            **{f"evaluate/{k}": summary[k] for k in HEADLINE if k in summary},
            "score/n_proteins": float(self.scored.n_scored),
            "score/n_annotations": float(self.scored.n_annotations),
            "fill/n_proposed": float(self.filled.n_proposed),
            "demo/seconds": self.seconds,
        }

    def _backtest(self) -> list[tuple[str, str]]:
        from plmsae.scoring.truth import totals

        if not self.filled.backtest:
            return []
        frame = pl.DataFrame(self.filled.backtest, infer_schema_length=None)
        rows = []
        for hiding, words in (("random", "one by one"), ("cluster", "by family")):
            sums = totals(frame.filter(pl.col("hiding") == hiding))
            text = (
                f"{sums['recovered']:,.0f} of {sums['hidden']:,.0f} came back; "
                f"{sums['correct']:,.0f} of {sums['proposed']:,.0f} proposals right"
            )
            if "precision" in sums:
                promised = sums["promised_precision"]
                text += f" (precision {sums['precision']:.2f}, promised {promised:.2f})"
            rows.append((words, text))
        return rows

    def examples(self) -> list[str]:
        """Return three features in words: what they detect and how well, one concept each."""
        return [
            f"feature {row['best_latent']}: {row['concept']}, F1 {row['f1']:.2f} "
            f"[{row['f1_low']:.2f}, {row['f1_high']:.2f}] on B. subtilis "
            f"({row['f1_select']:.2f} on yeast, where it was chosen)"
            for row in _most_specific(self.evaluated.top_concepts)[:_EXAMPLES]
        ]

    def lines(self) -> list[str]:
        """Return it in words."""
        width = max(len(name) for name, _ in self.table())
        rows = [f"  {name:<{width}}  {value}" for name, value in self.table()]
        examples = [f"  {line}" for line in self.examples()]
        if examples:
            examples = ["", "Features, for example:", *examples]
        lines = ["", *rows, *examples, "", "Open the MLflow UI:", f"  {self.ui}"]
        if (activate := activation_line()) is not None:
            lines += ["For plmsae and mlflow to be found in this shell:", f"  {activate}"]
        return lines


def _beside(summary: dict[str, float], what: str) -> str:
    """Return a count of the SAE's beside those of its baselines, with its interval."""
    low, high = (summary.get(f"sae_{what}_f1_50_{end}") for end in ("low", "high"))
    interval = "" if low is None or high is None else f" [{low:.0f}, {high:.0f}]"
    baselines = ", ".join(
        f"{words} {int(summary[f'{name}_{what}_f1_50'])}"
        for name, words in (
            ("neuron", "PLM neurons"),
            ("random_plm_sae", "SAE of a random PLM"),
            ("amino_acid", "residue identity"),
            ("window_of_3", "windows of 3 residues"),
        )
        if f"{name}_{what}_f1_50" in summary
    )
    return f"{int(summary[f'n_{what}_f1_50'])}{interval} ({baselines})"


def _most_specific(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out a class where one of its members is in the list, and repeats of a class."""
    classes = {row["concept"].split(":")[0] for row in rows if ":" in row["concept"]}
    kept: list[dict[str, Any]] = []
    seen: set[str] = set()
    for row in rows:
        own = row["concept"].split(":")[0]
        if row["concept"] in classes or own in seen:
            continue
        seen.add(own)
        kept.append(row)
    return kept


def run(request: DemoRequest, progress: Progress) -> DemoOutcome:
    """Run every station in order."""
    from plmsae.plm.model import identify_plm

    started = time.monotonic()
    out = request.out
    check_device(request.device)
    identify_plm(request.plm).check_layer(request.layer)
    with (
        kept_if_stopped(lambda: f"what the finished steps made is kept in {out}"),
        start_run(
            experiment="plmsae-demo",
            run_name=f"demo {request.plm}",
            params=request_params(request),
            tags={NOTE: _ABOUT},
        ) as tracked,
    ):
        with step(progress, "dividing the sample of Swiss-Prot"):
            tables = write_sample_tables(
                out / "proteins", max_proteins=request.max_proteins, seed=request.seed
            )
        trained, evaluated = _make(request, tables, progress)
        model = f"{evaluated.model}"
        # Proteins that come again do not run the PLM again.
        encoded = out / "evaluate" / "encoded"
        # What an earlier demo wrote with an earlier version of the model would be refused.
        for folder in ("scores", "fill"):
            shutil.rmtree(out / folder, ignore_errors=True)
        gates = _promote(model, progress)
        scored, filled, reported = _use(request, tables, model, encoded, progress)
        shutil.rmtree(encoded, ignore_errors=True)
        outcome = DemoOutcome(
            out=out,
            seconds=time.monotonic() - started,
            tables=tables,
            trained=trained,
            evaluated=evaluated,
            scored=scored,
            filled=filled,
            reported=reported,
            gates=gates,
            ui=ui_command(),
        )
        tracked.log_metrics(0, outcome.metrics())
        examples = {"Features, for example": outcome.examples()}
        log_summary(tracked, "plmsae demo", _ABOUT, outcome.table(), examples)
    return outcome


def _make(
    request: DemoRequest, tables: SampleTables, progress: Progress
) -> tuple[train.TrainOutcome, EvaluateOutcome]:
    out = request.out
    trained = train.run(
        TrainRequest(
            proteins=str(tables.train),
            plm=request.plm,
            layers=(request.layer,),
            overrides={"n_vectors": request.n_vectors, "d_sae": request.d_sae},
            out=out / "train",
            register=False,
            device=request.device,
            seed=request.seed,
        ),
        progress,
    )[0]
    evaluated = evaluate.run(
        EvaluateRequest(
            model=str(trained.bundle),
            concepts=str(tables.choose),
            report_on=str(tables.report),
            out=out / "evaluate",
            min_precision=request.min_precision,
            random_vectors=request.random_vectors,
            fidelity_proteins=48,  # measured on 128 while training
            keep_encoded=True,
            device=request.device,
            seed=request.seed,
        ),
        progress,
    )
    return trained, evaluated


def _use(
    request: DemoRequest, tables: SampleTables, model: str, encoded: Path, progress: Progress
) -> tuple[score.ScoreOutcome, fill.FillOutcome, report.ReportOutcome]:
    out = request.out
    scored = score.run(
        ScoreRequest(
            proteins=str(tables.held_back),
            model=model,
            out=str(out / "scores"),
            format="gff3",
            encoded=encoded,
            device=request.device,
        ),
        progress,
    )
    filled = fill.run(
        FillRequest(
            table=str(tables.held_back),
            model=model,
            out=out / "fill",
            backtest=True,
            hide_share=request.hide_share,
            missing_share=request.hide_share,
            min_precision=request.fill_precision,
            encoded=encoded,
            device=request.device,
            seed=request.seed,
        ),
        progress,
    )
    reported = report.run(
        ReportRequest(
            model=model,
            proteins=str(tables.report),
            out=out / "report",
            max_proteins=600,
            encoded=encoded,
            device=request.device,
            seed=request.seed,
        ),
        progress,
    )
    return scored, filled, reported


_NOT_MET = (("does not apply", "do not apply"), ("not met", "overruled"))


def _promote(model: str, progress: Progress) -> str:
    """Promote the model; where a small PLM misses a gate, overrule it and say so."""
    from plmsae.registry.promotion import GatesNotMetError, promote

    try:
        result = promote(model)
    except GatesNotMetError as error:
        progress.say(f"{error}; the demo promotes it anyway")
        result = promote(model, force=True, reason="plmsae demo: a small PLM, for demonstration")
    counts = Counter(gate.verdict for gate in result.gates)
    others = [f", {counts[verdict]} {words}" for verdict, words in _NOT_MET if counts[verdict]]
    return f"{counts['met']} of {len(result.gates)} met{''.join(others)}"
