"""The feature reports as one HTML page: nothing is fetched from outside.

Its one script sorts and filters the table of features, and follows its links; without it the page
is whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from plmsae.reports import drawing
from plmsae.reports.page import (
    ReportPage,
    authors_in_words,
    go_terms,
    in_words,
    labels_in_window,
    named,
    short_name,
    tests_in_words,
    untested,
)
from plmsae.reports.report import EVIDENCE_ONLY, FeatureReport
from plmsae.reports.testing.scores import VERIFIED
from plmsae.reports.text_summary import count_of, f1_of


def html_page(reports: Sequence[FeatureReport], about: Mapping[str, str]) -> str:
    """Return the HTML page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        reports=reports,
        about=about,
        authors=authors_in_words(reports),
        tested=tests_in_words(reports),
        labels_in_window=labels_in_window,
        go_terms=go_terms,
        named=named,
        short_name=short_name,
        evidence_only=EVIDENCE_ONLY,
        drawing=drawing,
        in_words=in_words,
        untested=untested,
        verified=VERIFIED,
        f1_of=f1_of,
        count_of=count_of,
        cost=sum(report.usage.cost_usd for report in reports if report.usage),
    )


PAGE = ReportPage(filename="report.html", render=html_page)
