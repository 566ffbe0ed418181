"""The whole road on a simulated proteome: train, evaluate, register, score, fill, report.

Nothing here is special: every station is the workflow a user calls on real proteins. Only the
proteome is simulated, so that the labels that were hidden are known and what comes back is counted.
"""

from __future__ import annotations

import gzip
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from plmsae.concepts.labels.missing_labels import silent_precision
from plmsae.core.atomic import atomic_path
from plmsae.tracking.runs import start_run
from plmsae.tracking.store import ui_command
from plmsae.workflows import evaluate, fill, report, score, simulate, train
from plmsae.workflows.evaluating.outcome import EvaluateOutcome
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import (
    DemoRequest,
    EvaluateRequest,
    FillRequest,
    ReportRequest,
    ScoreRequest,
    SimulateRequest,
    TrainRequest,
)


@dataclass(frozen=True, kw_only=True)
class DemoOutcome:
    """What the demo did, station by station."""

    out: Path
    seconds: float
    simulated: simulate.SimulateOutcome
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
        stations = ("simulated", "trained", "evaluated", "scored", "filled", "reported")
        return {
            "out": str(self.out),
            "seconds": round(self.seconds, 1),
            **{name: getattr(self, name).to_json() for name in stations},
            "gates": self.gates,
            "ui": self.ui,
        }

    def table(self) -> list[tuple[str, str]]:
        """Return the closing table: what, and how much or where."""
        counts = self.simulated.summary["counts"]
        summary = self.evaluated.summary
        truth = self.filled.truth or {}
        # Secondary structure, for one, is never hidden: no proposal of it could be right.
        complete = [row for row in self.filled.by_concept if not row["hidden"]]
        beyond = sum(row["proposed"] for row in complete)
        tested = _totals([row for row in self.filled.by_concept if row["hidden"]])
        precision = "nothing proposed"
        if "precision" in tested:
            precision = f"{tested['precision']:.2f} (promised {tested['promised_precision']:.2f})"
        return [
            (
                "simulated proteome",
                f"{counts['proteins']:,} proteins, {counts['families']} families",
            ),
            (
                "SAE features",
                f"{self.trained.metrics['explained_variance']:.1%} of the variance, "
                f"{self.trained.metrics['loss_recovered']:.1%} of the loss, "
                f"{self.trained.metrics['l0']:.0f} active a residue",
            ),
            ("features with a concept", f"{int(summary['n_features_f1_50'])} (F1 > 0.5, twice)"),
            (
                "concepts found",
                f"{int(summary['n_concepts_f1_50'])}"
                f" (PLM neurons {int(summary['neuron_concepts_f1_50'])},"
                f" SAE of a random PLM {int(summary['random_plm_sae_concepts_f1_50'])},"
                f" residue identity {int(summary['amino_acid_concepts_f1_50'])},"
                f" windows of 3 residues {int(summary['window_of_3_concepts_f1_50'])})",
            ),
            (
                "held-back families scored",
                f"{self.scored.n_scored:,} proteins, {self.scored.n_annotations:,} annotations",
            ),
            ("labels hidden", f"{truth.get('hidden', 0):.0f}"),
            ("labels recovered", f"{truth.get('recovered', 0):.0f}"),
            ("precision of proposals", precision),
            ("proposals beyond these", f"{beyond:,}, of concepts of which none was hidden"),
            ("model", f"{self.evaluated.model} @champion"),
            ("promotion gates", self.gates),
            ("annotations", str(self.scored.folder)),
            ("proposals", str(self.filled.folder / "proposals.tsv")),
            ("quality report", str(self.out / "scores-quality" / "output" / "summary.html")),
            ("feature reports", str(self.reported.html)),
            ("time", f"{self.seconds / 60:.1f} minutes"),
        ]

    def lines(self) -> list[str]:
        """Return it in words."""
        width = max(len(name) for name, _ in self.table())
        rows = [f"  {name:<{width}}  {value}" for name, value in self.table()]
        return ["", *rows, "", "Open the MLflow UI:", f"  {self.ui}"]


def run(request: DemoRequest, progress: Progress) -> DemoOutcome:
    """Run every station in order."""
    started = time.monotonic()
    out = request.out
    data = out / "proteome"
    with start_run(experiment="plmsae-demo", run_name="demo", params={"seed": request.seed}):
        proteome = SimulateRequest(
            out=data,
            n_families=request.n_families,
            proteins_per_family=request.proteins_per_family,
            seed=request.seed,
        )
        simulated = simulate.run(proteome, progress)
        known, held_back = _tables(data)
        trained = train.run(
            TrainRequest(
                proteins=str(data / "train.fasta.gz"),
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
                concepts=str(known),
                out=out / "evaluate",
                min_precision=request.min_precision,
                random_vectors=request.random_vectors,
                fidelity_proteins=48,  # measured on 128 while training
                device=request.device,
                seed=request.seed,
            ),
            progress,
        )
        model = f"{evaluated.model}"
        # What an earlier demo wrote with an earlier version of the model would be refused.
        for folder in ("scores", "fill"):
            shutil.rmtree(out / folder, ignore_errors=True)
        gates = _promote(model, progress)
        scored = score.run(
            ScoreRequest(
                proteins=str(data / "heldout.fasta.gz"),
                model=model,
                out=out / "scores",
                format="gff3",
                device=request.device,
            ),
            progress,
        )
        lowest = _missing_shares(held_back, data / "truth_heldout.tsv.gz", data / "missing.tsv")
        filled = fill.run(
            FillRequest(
                table=str(held_back),
                model=model,
                out=out / "fill",
                truth=str(data / "truth_heldout.tsv.gz"),
                missing_share=proteome.hidden_fraction,
                missing_shares=str(data / "missing.tsv"),
                # The concepts that may be called may propose, each at what it can promise here.
                min_precision=silent_precision(request.min_precision, lowest),
                device=request.device,
            ),
            progress,
        )
        reported = report.run(
            ReportRequest(
                model=model,
                proteins=str(known),
                out=out / "report",
                max_proteins=600,
                device=request.device,
                seed=request.seed,
            ),
            progress,
        )
    return DemoOutcome(
        out=out,
        seconds=time.monotonic() - started,
        simulated=simulated,
        trained=trained,
        evaluated=evaluated,
        scored=scored,
        filled=filled,
        reported=reported,
        gates=gates,
        ui=ui_command(),
    )


def _totals(rows: list[dict[str, Any]]) -> dict[str, float]:
    from plmsae.scoring.truth import totals

    return totals(pl.DataFrame(rows)) if rows else {}


def _promote(model: str, progress: Progress) -> str:
    """Promote the model; where a small PLM misses a gate, overrule it and say so."""
    from plmsae.registry.promotion import GatesNotMetError, promote

    try:
        result = promote(model)
    except GatesNotMetError as error:
        progress.say(f"{error}; the demo promotes it all the same")
        result = promote(model, force=True)
    failed = [gate for gate in result.gates if not gate.passed]
    met = len(result.gates) - len(failed)
    return f"{met} of {len(result.gates)} met" + (", overruled" if failed else "")


def _missing_shares(known: Path, truth: Path, target: Path) -> float:
    """Write the share that is hidden of each class of labels; return the lowest that is not 0.

    Labels are hidden by what they rest on, so that no class loses quite the share asked for, and
    secondary structure loses nothing. Here that is known; of a real table it is the curator's
    guess.
    """
    from plmsae.concepts.labels.label_holdout import class_of
    from plmsae.concepts.labels.label_table import labels_from_uniprot
    from plmsae.proteins.uniprot import read_table

    left, all_of = (
        labels_from_uniprot(read_table(path)).filter(
            class_of(pl.col("concept")) == pl.col("concept")
        )
        for path in (known, truth)
    )
    counts = all_of.group_by("concept").len("n").sort("concept")
    counts = counts.join(left.group_by("concept").len("left"), on="concept", how="left")
    share = 1 - pl.col("left").fill_null(0) / pl.col("n")
    shares = counts.select("concept", share.alias("missing_share"))
    with atomic_path(target) as temporary:
        shares.write_csv(temporary, separator="\t", float_precision=4)
    hidden = shares.filter(pl.col("missing_share") > 0)["missing_share"]
    return float(hidden.to_numpy().min(initial=1.0))


def _tables(data: Path) -> tuple[Path, Path]:
    """Write the tables of the training families and of the families held back.

    Returns
    -------
    known, held_back : Path
        What is known of either; the truth of the second goes to ``truth_heldout.tsv.gz``.
    """
    truth = json.loads((data / "truth.json").read_text())
    held = [f["family"] for f in truth["families"] if f["split"] == "heldout"]
    here = pl.col("Cluster ID").is_in(held)
    known, held_back = data / "annotations_train.tsv.gz", data / "annotations_heldout.tsv.gz"
    for source, target, rows in (
        ("annotations.tsv.gz", known, ~here),
        ("annotations.tsv.gz", held_back, here),
        ("truth.tsv.gz", data / "truth_heldout.tsv.gz", here),
    ):
        table = pl.read_csv(data / source, separator="\t", infer_schema=False, quote_char=None)
        text = table.filter(rows).write_csv(separator="\t", quote_style="never")
        with atomic_path(target) as temporary:
            # No time stamp, so that equal seeds give equal bytes.
            temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
    return known, held_back
