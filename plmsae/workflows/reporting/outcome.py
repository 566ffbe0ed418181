"""What `plmsae report` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.core.words import counted

if TYPE_CHECKING:
    from plmsae.reports.dry_run import DryRun


@dataclass(frozen=True, kw_only=True)
class ReportOutcome:
    """Where the reports lie, who wrote them, and how they fared when tested."""

    pages: dict[str, Path]
    """The file of each page by the page's name: ``html``, ``json``, ``markdown``, …; empty after a
    dry run."""
    n_features: int
    authors: dict[str, int]
    metrics: dict[str, float]
    """Numbers of tested and verified features, and median correlations."""
    warning: str = ""
    """That concepts were chosen on these proteins, or that it cannot be told; empty otherwise."""
    dry_run: DryRun | None = None
    """What would be asked, of a dry run."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        from dataclasses import asdict

        return {
            **{name: str(path) for name, path in self.pages.items()},
            "n_features": self.n_features,
            "authors": self.authors,
            **self.metrics,
            **({"warning": self.warning} if self.warning else {}),
            **({"dry_run": asdict(self.dry_run)} if self.dry_run else {}),
        }

    def table(self) -> list[tuple[str, str]]:
        """Return what to see first: who wrote them, and how they fared."""
        by = ", ".join(f"{count} by {author}" for author, count in self.authors.items())
        if "report_median_r" not in self.metrics:
            return [("features", by)]
        tested = (
            f"{self.metrics['report_n_verified']:.0f} verified of "
            f"{self.metrics['report_n_tested']:.0f} tested on proteins held back; median r "
            f"{self.metrics['report_median_r']:.2f}"
        )
        return [("features", by), ("tests", tested)]

    def lines(self) -> list[str]:
        """Return it in words."""
        if self.dry_run is not None:
            return self.dry_run.lines(self.n_features)
        (_, reported), *tested = self.table()
        n = counted(self.n_features, "feature")
        lines = [f"{n} reported ({reported})", *(text for _, text in tested)]
        if self.warning:
            lines.append(f"warning: {self.warning}")
        return [*lines, f"written to {self.pages['html']}"]
