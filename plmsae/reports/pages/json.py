"""The feature reports as JSON, with the evidence they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plmsae.core.atomic import json_text
from plmsae.reports.page import ReportPage, authors
from plmsae.reports.report import FeatureReport


def json_page(reports: Sequence[FeatureReport], about: Mapping[str, str]) -> str:
    """Return all that is known of the features."""
    features = [report.to_json() for report in reports]
    return json_text({"about": dict(about), "authors": authors(reports), "features": features})


PAGE = ReportPage(filename="report.json", render=json_page)
