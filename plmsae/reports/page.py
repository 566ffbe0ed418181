"""What a page of feature reports declares, and what all pages say of who wrote the words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from plmsae.core.plugins import Plugins
from plmsae.reports.describe import EVIDENCE_ONLY, FeatureReport


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
    """Say who wrote the words, and whether they hold against the evidence."""
    if report.author == EVIDENCE_ONLY:
        return f"Written from evidence only{f' ({report.note})' if report.note else ''}."
    if report.verified:
        return f"Written by {report.author}; every name in it was found in the evidence."
    return f"Written by {report.author}; not verified: {'; '.join(report.reasons)}."
