"""What a validation found, as an object, as JSON and as one page to read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plmsae.core.atomic import write_json, write_text
from plmsae.core.errors import QualityError
from plmsae.quality.docs import validation_page
from plmsae.quality.suites import Kind, Severity


@dataclass(frozen=True, kw_only=True)
class ExpectationResult:
    """What became of one expectation."""

    name: str
    """Its name in the suite."""
    expectation: str
    """Its Great Expectations type."""
    severity: Severity
    """``critical`` or ``warning``."""
    success: bool | None
    """Whether the data meet it; None if it could not be checked."""
    expected: str
    """What was expected, in words."""
    observed: str
    """What was found, in words; why not, if it could not be checked."""
    value: float | None
    """The number it was put on, for a measure; else the share of rows that fail."""
    element_count: int
    """Rows (or numbers) looked at."""
    unexpected_count: int
    """How many of them fail; for a number that counts offenders, that number."""
    examples: tuple[str, ...]
    """A few of the offenders."""
    why: str
    """Why it matters."""
    about: tuple[str, ...]
    """What its derived columns and measures are."""

    @property
    def state(self) -> str:
        """One word: ``passed``, ``failed``, ``warning`` or ``unchecked``."""
        if self.success is None:
            return "unchecked"
        if self.success:
            return "passed"
        return "failed" if self.severity == "critical" else "warning"


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """The outcome of checking one table against its suite."""

    kind: Kind
    """What the table is: the name of the suite."""
    source: str
    """Where it lies, or ``frame``."""
    n_rows: int
    """Rows of the table."""
    n_parts: int
    """Parts it is made of."""
    success: bool
    """Whether every critical expectation that could be checked is met."""
    results: tuple[ExpectationResult, ...]
    """In the order of the suite."""
    description: str
    """The suite's."""
    versions: dict[str, str]
    """Of plmsae and Great Expectations."""
    docs_path: Path
    """``index.html`` of the Data Docs, which lists their pages."""
    summary_path: Path
    """The single page, with nothing outside it."""
    json_path: Path
    """This object as JSON."""

    def of(self, state: str) -> tuple[ExpectationResult, ...]:
        """Return the results in one state: ``passed``, ``failed``, ``warning`` or ``unchecked``."""
        return tuple(result for result in self.results if result.state == state)

    @property
    def verdict(self) -> str:
        """One line: what became of the expectations, those that were not checked included."""
        n, unchecked = len(self.results), len(self.of("unchecked"))
        checked = n - unchecked
        if not self.success:
            return f"{len(self.of('failed'))} of {checked} checked expectations failed critically"
        if not checked:
            return f"nothing was checked: of {n} expectations none could be"
        warnings = len(self.of("warning"))
        met = f"{checked - warnings} of {n} expectations are met"
        parts = [f"{warnings} gave a warning"] if warnings else []
        parts += [f"{unchecked} could not be checked"] if unchecked else []
        return ", ".join([met, *parts])

    def counts(self) -> dict[str, float]:
        """Return how many expectations are met, failed, gave a warning or could not be checked."""
        words = {"met": "passed", "failed": "failed", "warnings": "warning",
                 "unchecked": "unchecked"}  # fmt: skip
        return {word: float(len(self.of(state))) for word, state in words.items()}

    def verdicts(self) -> dict[str, Any]:
        """Return as plain data the verdict, and the state of every expectation by name."""
        return {
            "kind": self.kind,
            "success": self.success,
            "verdict": self.verdict,
            "n_rows": self.n_rows,
            "expectations": {result.name: result.state for result in self.results},
            "summary": str(self.summary_path),
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, in types that JSON has; paths are relative to the report's folder."""
        value = dataclasses.asdict(self)
        for path in ("docs_path", "summary_path", "json_path"):
            value[path] = getattr(self, path).relative_to(self.json_path.parent).as_posix()
        for result, entry in zip(self.results, value["results"], strict=True):
            entry["state"] = result.state
        return value


def raise_if_critical(report: ValidationReport) -> None:
    """Raise if a critical expectation failed.

    Raises
    ------
    QualityError
        With what was expected and found, and where the report lies. With several failures the
        first is told and the others are named.
    """
    failed = report.of("failed")
    if not failed:
        return
    first = failed[0]
    found = first.observed
    if first.examples:
        found += f" (for example {first.examples[0]})"
    if len(failed) > 1:
        found += f"; also failed: {', '.join(result.name for result in failed[1:])}"
    expected = f"{report.kind} with {first.expected}"
    raise QualityError(expected, found, report=report.summary_path)


def warnings_in_words(reports: Iterable[ValidationReport]) -> str:
    """Return the names of the expectations that gave a warning, by kind; ``none`` of none.

    ``proteins: few_repeated_sequences; models: few_dead, l0_near_k``
    """
    lines = [
        f"{report.kind}: {', '.join(result.name for result in report.of('warning'))}"
        for report in reports
        if report.of("warning")
    ]
    return "; ".join(lines) or "none"


def write_report(report: ValidationReport) -> None:
    """Write the JSON and the summary page where the report says they lie."""
    write_json(report.json_path, report.to_json())
    write_text(report.summary_path, render_summary(report))


def render_summary(report: ValidationReport) -> str:
    """Return the summary page: one HTML document, no scripts, nothing fetched from outside."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    order = ("failed", "warning", "unchecked", "passed")
    return environment.get_template("summary.html.j2").render(
        report=report,
        groups=[(state, report.of(state)) for state in order],
        docs=validation_page(report.docs_path.parent)
        .relative_to(report.summary_path.parent)
        .as_posix(),
    )
