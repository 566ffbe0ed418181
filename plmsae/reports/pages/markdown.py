"""The feature reports as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plmsae.concepts.features.patterns import ACTIVE
from plmsae.core.markdown import escape
from plmsae.reports.evidence import ProteinExample
from plmsae.reports.page import (
    ReportPage,
    authors_in_words,
    byline,
    go_terms,
    in_words,
    labels_in_window,
    named,
    short_name,
    tests_in_words,
    untested,
)
from plmsae.reports.report import FeatureReport
from plmsae.reports.testing.scores import VERIFIED
from plmsae.reports.text_summary import count_of, f1_of


def markdown_page(reports: Sequence[FeatureReport], about: Mapping[str, str]) -> str:
    """Return the Markdown page. Active residues of a window are capitals, the others small."""
    lines = ["# Features", ""]
    lines += [f"- {escape(key)}: {escape(value)}" for key, value in about.items()]
    lines += [f"- {escape(authors_in_words(reports))}", f"- {tests_in_words(reports)}"]
    lines += ["", "| feature | what | best concept | F1 | r | detection | fires as | proteins |"]
    lines += ["| ---: | --- | --- | ---: | ---: | ---: | --- | ---: |"]
    for report in reports:
        evidence = report.evidence
        best = evidence.concepts[0] if evidence.concepts else None
        lines.append(
            f"| [{evidence.latent}](#feature-{evidence.latent}) | {escape(report.title)} | "
            f"{escape(best.concept) if best else '–'} | {f'{best.f1:.2f}' if best else '–'} | "
            f"{f'{report.test.r:.2f}' if report.test else '–'} | "
            f"{_share(report.test.detection if report.test else None)} | {evidence.pattern} | "
            f"{evidence.n_active:,} |"
        )
    for report in reports:
        lines += ["", *_section(report)]
    lines += ["", escape(VERIFIED)]
    return "\n".join(lines) + "\n"


def _section(report: FeatureReport) -> list[str]:
    evidence = report.evidence
    lines = [
        f'<a id="feature-{evidence.latent}"></a>',
        "",
        f"## {evidence.latent}: {escape(report.title)}",
        "",
        f"**{escape(report.claim)}** {escape(report.description)}",
        "",
        f"*{escape(byline(report))}*",
    ]
    if report.reasons:
        lines += ["", f"Not in the evidence: {escape('; '.join(report.reasons))}."]
    if report.activation_rule:
        lines += ["", f"Activation: {escape(report.activation_rule)}"]
    lines += ["", "Known concept: " + escape(report.known_concept or "none")]
    if report.citations:
        lines += ["", "Evidence:", ""]
        lines += [
            f"- {escape(c.residue)}{c.position} of {escape(c.accession)}: {escape(c.shows)}"
            for c in report.citations
        ]
    rows = [in_words(test) for test in report.tests]
    if rows:
        lines += ["", f"| {' | '.join(rows[0])} |", "| --- | --- | ---: | ---: | ---: | ---: |"]
        lines += [f"| {' | '.join(escape(cell) for cell in row.values())} |" for row in rows]
    else:
        lines += ["", untested(report)]
    if evidence.companions:
        others = [
            f"{c.latent} ({f'{escape(c.concept)}, ' if c.concept else ''}{c.overlap:.2f})"
            for c in evidence.companions
        ]
        lines += ["", f"Fires together with {', '.join(others)}; overlap of residues in brackets."]
    if evidence.concepts:
        lines += [
            "",
            "| concept | F1 | instances | precision | recall | above |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {escape(c.concept)} | {f1_of(c)} | {count_of(c)} | {_share(c.precision)} | "
            f"{_share(c.recall)} | {c.threshold:.2f} |"
            for c in evidence.concepts
        ]
    if evidence.examples:
        lines += [
            "",
            "| protein | name | organism | GO | level | peak | around it | labels in this window |",
            "| --- | --- | --- | --- | ---: | ---: | --- | --- |",
        ]
        lines += [
            f"| {escape(e.accession)} | {escape(short_name(e.description)) or '–'} | "
            f"{escape(short_name(e.organism)) or '–'} | {escape(go_terms(e.terms)) or '–'} | "
            f"{e.activation:.2f} | {_peak(e)} | `{_cased(e)}` | "
            f"{escape('; '.join(labels_in_window(e))) or '–'} |"
            for e in evidence.examples
        ]
    for is_relative, text in ((True, "Silent relatives"), (False, "Silent proteins")):
        silent = [p for p in evidence.silent if p.is_relative == is_relative]
        if silent:
            told = (escape(f"{p.accession}{named(p)}") for p in silent)
            lines += ["", f"{text}: {'; '.join(told)}."]
    return lines


def _peak(example: ProteinExample) -> str:
    return f"{example.window[example.peak - example.window_start]}{example.peak}"


def _cased(example: ProteinExample) -> str:
    letters = zip(example.window, example.activations, strict=True)
    return "".join(x if heat >= ACTIVE else x.lower() for x, heat in letters)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


PAGE = ReportPage(filename="report.md", render=markdown_page)
