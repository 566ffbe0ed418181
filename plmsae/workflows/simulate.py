"""Make a simulated proteome with known truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plmsae.proteins.simulate import SimulateConfig, simulate
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import SimulateRequest


@dataclass(frozen=True, kw_only=True)
class SimulateOutcome:
    """What was made, and where."""

    folder: Path
    summary: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"folder": str(self.folder), **self.summary}

    def lines(self) -> list[str]:
        """Return it in words."""
        counts = self.summary["counts"]
        hidden = sum(counts["hidden"].values())
        return [
            f"{counts['proteins']} proteins of {counts['families']} families, "
            f"{counts['residues']:,} residues; {sum(counts['labels'].values()):,} labels, "
            f"{hidden} of them hidden",
            f"written to {self.folder}",
        ]


def run(request: SimulateRequest, progress: Progress) -> SimulateOutcome:
    """Simulate and write ``proteome.fasta.gz``, ``annotations.tsv.gz``, ``truth.tsv.gz`` …."""
    config = SimulateConfig(
        n_families=request.n_families,
        proteins_per_family=request.proteins_per_family,
        hidden_fraction=request.hidden_fraction,
        seed=request.seed,
    )
    with progress.task("simulating a proteome") as task:
        proteome = simulate(config)
        task.update(1, 2)
        proteome.write(request.out)
        task.update(2, 2)
    return SimulateOutcome(folder=request.out, summary=proteome.summary())
