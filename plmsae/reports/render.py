"""Feature reports as Markdown, as one HTML page, and as JSON."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plmsae.core.atomic import write_json, write_text
from plmsae.reports import drawing
from plmsae.reports.describe import EVIDENCE_ONLY, FeatureReport
from plmsae.reports.evidence import ProteinExample
from plmsae.reports.patterns import ACTIVE


@dataclass(frozen=True, kw_only=True)
class ReportPaths:
    """Where the reports were written."""

    markdown: Path
    """``report.md``."""
    html: Path
    """``report.html``: one page, no scripts, nothing fetched from outside."""
    json: Path
    """``report.json``: the evidence too."""


def render_reports(
    reports: Sequence[FeatureReport],
    out_dir: Path,
    *,
    about: Mapping[str, str] | None = None,
) -> ReportPaths:
    """Write the reports into a folder.

    Parameters
    ----------
    reports : sequence of FeatureReport
        In the order they are to be read.
    out_dir : Path
        Made if it is missing; files of the same names are replaced.
    about : mapping, optional
        Lines for the head: ``{"model": "models:/…/3", "proteins": "…"}``.

    Returns
    -------
    ReportPaths
        The three files.
    """
    out_dir = Path(out_dir)
    about = dict(about or {})
    paths = ReportPaths(
        markdown=out_dir / "report.md",
        html=out_dir / "report.html",
        json=out_dir / "report.json",
    )
    write_json(
        paths.json,
        {"about": about, "authors": authors(reports), "features": [r.to_json() for r in reports]},
    )
    write_text(paths.markdown, markdown(reports, about))
    write_text(paths.html, page(reports, about))
    return paths


def authors(reports: Sequence[FeatureReport]) -> dict[str, int]:
    """Count the reports by who wrote their words."""
    names = [report.author for report in reports]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def page(reports: Sequence[FeatureReport], about: Mapping[str, str]) -> str:
    """Return the HTML page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        reports=reports,
        about=about,
        authors=authors(reports),
        evidence_only=EVIDENCE_ONLY,
        drawing=drawing,
        cost=sum(report.usage.cost_usd for report in reports if report.usage),
    )


def markdown(reports: Sequence[FeatureReport], about: Mapping[str, str]) -> str:
    """Return the Markdown page. Active residues of a window are capitals, the others small."""
    lines = ["# Features", ""]
    lines += [f"- {_md(key)}: {_md(value)}" for key, value in about.items()]
    lines += [
        f"- {n} written by {_md(author)}"
        if author != EVIDENCE_ONLY
        else f"- {n} from evidence only"
        for author, n in authors(reports).items()
    ]
    lines += ["", "| feature | what | best concept | F1 | fires as | proteins |"]
    lines += ["| ---: | --- | --- | ---: | --- | ---: |"]
    for report in reports:
        evidence = report.evidence
        best = evidence.concepts[0] if evidence.concepts else None
        lines.append(
            f"| [{evidence.latent}](#feature-{evidence.latent}) | {_md(report.title)} | "
            f"{_md(best.concept) if best else '–'} | {f'{best.f1:.2f}' if best else '–'} | "
            f"{evidence.pattern} | {evidence.n_active:,} |"
        )
    for report in reports:
        lines += ["", *_section(report)]
    return "\n".join(lines) + "\n"


def _section(report: FeatureReport) -> list[str]:
    evidence = report.evidence
    lines = [
        f'<a id="feature-{evidence.latent}"></a>',
        "",
        f"## {evidence.latent}: {_md(report.title)}",
        "",
        f"**{_md(report.summary)}** {_md(report.description)}",
        "",
        f"*{_md(byline(report))}*",
    ]
    if evidence.concepts:
        lines += [
            "",
            "| concept | F1 | precision | recall | from |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {_md(c.concept)} | {c.f1:.2f} | {_share(c.precision)} | {_share(c.recall)} | "
            f"{c.threshold:.2f} |"
            for c in evidence.concepts
        ]
    if evidence.examples:
        lines += [
            "",
            "| protein | level | peak | around it | labels there |",
            "| --- | ---: | ---: | --- | --- |",
        ]
        lines += [
            f"| {_md(e.accession)} | {e.activation:.2f} | {_peak(e)} | `{_cased(e)}` | "
            f"{_md('; '.join(e.labels)) or '–'} |"
            for e in evidence.examples
        ]
    return lines


def byline(report: FeatureReport) -> str:
    """Say who wrote the words, and whether they hold against the evidence."""
    if report.author == EVIDENCE_ONLY:
        return f"Written from evidence only{f' ({report.note})' if report.note else ''}."
    if report.verified:
        return f"Written by {report.author}; every name in it was found in the evidence."
    return f"Written by {report.author}; not verified: {'; '.join(report.reasons)}."


def _peak(example: ProteinExample) -> str:
    return f"{example.window[example.peak - example.window_start]}{example.peak}"


def _cased(example: ProteinExample) -> str:
    letters = zip(example.window, example.activations, strict=True)
    return "".join(x if heat >= ACTIVE else x.lower() for x, heat in letters)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _md(text: str) -> str:
    """Make text from outside plain: one line, no markup of HTML or Markdown in it."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#|!~])", r"\\\1", escaped)
