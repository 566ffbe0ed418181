"""What a page of feature reports declares, and what all pages say of who wrote the words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from plmsae.core.plugins import Plugins
from plmsae.reports.report import EVIDENCE_ONLY, FeatureReport
from plmsae.reports.testing.scores import PredictionTest


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """One form of the feature reports; each module of `reports.pages` declares one as `PAGE`."""

    filename: str
    """Of the file that it is written to."""
    render: Callable[[Sequence[FeatureReport], Mapping[str, str]], str]
    """Takes the reports, in the order they are to be read, and the lines for the head; returns the
    content of the file."""


PAGES: Plugins[ReportPage] = Plugins("plmsae.reports.pages", "PAGE")
"""By name, in the order in which they are written."""


def authors(reports: Sequence[FeatureReport]) -> dict[str, int]:
    """Count the reports by who wrote their words."""
    names = [report.author for report in reports]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def byline(report: FeatureReport) -> str:
    """Say who wrote the words, and whether they hold."""
    by = "from evidence only" if report.author == EVIDENCE_ONLY else f"by {report.author}"
    status = report.status[0].upper() + report.status[1:]
    return f"{status}. Written {by}.{f' {report.note}.' if report.note else ''}"


def in_words(test: PredictionTest) -> dict[str, str]:
    """Return the cells of a test's row in a table, by the head of the column."""
    return {
        "predicted by": test.predictor,
        "from": test.basis,
        "r": f"{test.r:.2f} ({test.r_low:.2f} to {test.r_high:.2f})",
        "active or silent": _share(test.detection),
        "above silent relatives": _share(test.relatives),
        "proteins": f"{len(test.predictions)} of {test.families} families",
    }


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def untested(report: FeatureReport) -> str:
    """Say why there is no test; empty if there is one."""
    if report.tests:
        return ""
    return (
        f"Not tested: it is active on {report.evidence.n_active} of the proteins looked at, too "
        "few to hold some back."
    )
