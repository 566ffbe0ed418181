"""What a page of feature reports declares, and what all pages say of who wrote the words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from plmsae.core.plugins import Plugins
from plmsae.core.words import counted
from plmsae.reports.evidence import LABEL, ProteinExample, SilentProtein
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


def authors_in_words(reports: Sequence[FeatureReport]) -> str:
    """Say how many features are described, and by whom."""
    total = counted(len(reports), "feature")
    counts = authors(reports)
    described = [
        "described from the evidence alone" if author == EVIDENCE_ONLY else f"described by {author}"
        for author in counts
    ]
    if len(counts) <= 1:
        return f"{', '.join([total, *described])}."
    parts = (f"{n} {how}" for n, how in zip(counts.values(), described, strict=True))
    return f"{total}: {', '.join(parts)}."


def tests_in_words(reports: Sequence[FeatureReport]) -> str:
    """Say what r is, how many descriptions pass, and how well the typical one does."""
    found = [report.test.r for report in reports if report.test]
    if not found:
        return "None could be tested: each is active on too few proteins to hold some back."
    verified = sum(report.verified for report in reports)
    return (
        f"Each description must predict how strongly the feature fires on proteins held back: r is "
        f"the correlation of predicted and found. {verified} of {len(reports)} are verified; of "
        f"the {len(found)} tested the median r is {median(found):.2f}."
    )


def labels_in_window(example: ProteinExample) -> list[str]:
    """Return the labels that reach into the window that is shown.

    A class is left out where one of its members has the same place: ``Domain 10..64`` beside
    ``Domain: SH3 10..64``.
    """
    last = example.window_start + len(example.window) - 1
    inside = [
        (match["concept"], (int(match["start"]), int(match["end"])))
        for match in map(LABEL.fullmatch, example.labels)
        if match and int(match["start"]) <= last and int(match["end"]) >= example.window_start
    ]
    return [
        f"{concept} {place[0]}..{place[1]}"
        for concept, place in inside
        if not any(other.startswith(f"{concept}:") and there == place for other, there in inside)
    ]


_NAME, _GO = 60, 3  # letters of a name, GO terms: what a table has room for


def short_name(name: str) -> str:
    """Return a protein's name or organism without what UniProt adds in brackets, and cut."""
    text = name.split(" (")[0] or name
    return text if len(text) <= _NAME else text[: _NAME - 1].rstrip() + "…"


def go_terms(terms: Sequence[str]) -> str:
    """Return the first GO terms and how many more there are; empty without any."""
    own = [term for term in terms if term.startswith("GO:")]
    more = f" and {len(own) - _GO} more" if len(own) > _GO else ""
    return ", ".join(own[:_GO]) + more


def named(protein: ProteinExample | SilentProtein) -> str:
    """Return name and organism of a protein in brackets; empty where neither is known."""
    parts = [short_name(text) for text in (protein.description, protein.organism) if text]
    return f" ({', '.join(parts)})" if parts else ""


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
        "detection (active or silent)": _detection(test),
        "above silent relatives": _relatives(test),
        "proteins": f"{len(test.predictions)} of {test.families} families",
    }


def _detection(test: PredictionTest) -> str:
    of = f"{test.n_active} active, {test.n_silent} silent"
    if test.detection is None:
        return f"not tested: {of}"
    return f"{test.detection:.2f} ({test.detection_low:.2f} to {test.detection_high:.2f}): {of}"


def _relatives(test: PredictionTest) -> str:
    of = counted(test.n_relatives, "relative")
    return f"not tested: {of}" if test.relatives is None else f"{test.relatives:.2f}: {of}"


def untested(report: FeatureReport) -> str:
    """Say why there is no test; empty if there is one."""
    if report.tests:
        return ""
    return (
        f"Not tested: it is active on {report.evidence.n_active} of the proteins looked at, too "
        "few to hold some back."
    )
