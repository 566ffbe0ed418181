"""Check a table against its suite of expectations and write what was found."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

import plmsae
from plmsae.core.atomic import atomic_folder
from plmsae.quality.context import Context
from plmsae.quality.derived import DERIVED
from plmsae.quality.docs import strip_external_references
from plmsae.quality.engine import Engine, ExpectationTally
from plmsae.quality.measure import Measured
from plmsae.quality.measures import MEASURES
from plmsae.quality.plan import Plan, explain, make_plan
from plmsae.quality.report import (
    ExpectationResult,
    ValidationReport,
    raise_if_critical,
    write_report,
)
from plmsae.quality.sources import Table, TableLike, check_columns, open_table
from plmsae.quality.suites import Expectation, load_suite

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ValidationReport", "raise_if_critical", "validate"]

logger = logging.getLogger(__name__)


def validate(
    kind: str,
    path_or_frame: TableLike,
    *,
    out_dir: Path,
    context: Mapping[str, Any] | None = None,
    suite_path: Path | None = None,
    name: str | None = None,
) -> ValidationReport:
    """Check a table against the reviewed suite of its kind.

    Rows are read part by part and never all at once; numbers over the whole table are computed
    lazily. An expectation that needs a table not given in `context`, or a column that is not there,
    or that no row of the table bears on, is reported as unchecked, never as met.

    Parameters
    ----------
    kind : {'proteins', 'annotations', 'proposals', 'labels', 'models', 'evidence'}
        Which suite: the proteins to score (accession, length, sequence), the output of scoring, the
        output of filling, a label table, SAEs with their metrics, or the evidence of feature
        reports. Positions are 1-based and inclusive in all of them.
    path_or_frame : polars.DataFrame, str or Path
        The table: a frame, a file (``.parquet``, ``.tsv``, ``.csv``, the latter also gzipped), or a
        folder of Parquet parts.
    out_dir : Path
        Where to write ``summary.html``, ``validation.json`` and ``data_docs/``. One folder for each
        table: what an earlier validation wrote there is replaced.
    context : mapping, optional
        Other tables to compare with, by name: ``proteins``, ``rejected``, ``concepts``, ``labels``,
        ``backtest``; see `plmsae.quality.context.Context`.
    suite_path : Path, optional
        A suite of your own in the place of the reviewed one.
    name : str, optional
        What to call the table in the report; its path if not given.

    Returns
    -------
    ValidationReport
        Whether or not the table passed; `raise_if_critical` stops a pipeline.

    Raises
    ------
    InputError
        If the table, a context table or the suite cannot be read, or lacks columns: that is not bad
        data but a wrong table.
    """
    out_dir = Path(out_dir).resolve()  # Great Expectations takes no relative path
    suite = load_suite(kind, suite_path)
    others = Context(context)
    table = open_table(path_or_frame, what=kind)
    if name is not None:
        table = dataclasses.replace(table, name=name)
    present = check_columns(table, suite.required, suite.optional)
    plan = make_plan(suite, present, others)
    engine = Engine(suite)

    identify = [column for column in suite.identify if column in plan.columns]
    tallies = engine.check(plan.on_rows, _batches(table, plan, others), identify)
    rows = table.scan()
    numbers = {name: MEASURES[name].compute(rows, others) for name in plan.measures}
    measured = [e for e in plan.on_numbers if numbers[e.columns[0]].value is not None]
    tallies += engine.check(measured, [_one_row(numbers)])

    out_dir = Path(out_dir)
    docs = out_dir / "data_docs"
    with atomic_folder(docs) as folder:
        engine.write_data_docs(tallies, folder, source=table.name)
        strip_external_references(folder)
    by_name = {tally.expectation.name: tally for tally in tallies}
    n_rows = int(rows.select(pl.len()).collect(engine="streaming").item())
    results = tuple(
        _result(e, by_name.get(e.name), plan, numbers, n_rows) for e in suite.expectations
    )
    report = ValidationReport(
        kind=suite.kind,
        source=table.name,
        n_rows=n_rows,
        n_parts=len(table.parts),
        success=not any(result.state == "failed" for result in results),
        results=results,
        description=suite.description,
        versions={
            "plmsae": plmsae.__version__,
            "great-expectations": version("great-expectations"),
        },
        docs_path=docs / "index.html",
        summary_path=out_dir / "summary.html",
        json_path=out_dir / "validation.json",
    )
    write_report(report)
    _log(report)
    return report


def _batches(table: Table, plan: Plan, context: Context) -> Iterator[pd.DataFrame]:
    for part, batch in table.batches(list(plan.columns)):
        columns = [DERIVED[name].compute(batch, context, part).alias(name) for name in plan.derived]
        yield batch.with_columns(columns).to_pandas()


def _one_row(numbers: Mapping[str, Measured]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({name: [measured.value] for name, measured in numbers.items()})


def _result(
    expectation: Expectation,
    tally: ExpectationTally | None,
    plan: Plan,
    numbers: Mapping[str, Measured],
    n_rows: int,
) -> ExpectationResult:
    success: bool | None = None
    value: float | None = None
    examples: tuple[str, ...] = ()
    unexpected = 0
    if tally is None or not tally.n_rows:
        observed = plan.skipped.get(expectation.name) or _too_little(expectation, numbers, n_rows)
    elif expectation in plan.on_numbers:
        number = numbers[expectation.columns[0]]
        success, value = tally.success, number.value
        observed = _number(value)
        if not success:
            examples = number.examples
            unexpected = int(value) if isinstance(value, int) else tally.n_unexpected
    elif not tally.n_considered:
        observed = "no row has the values that it compares"
    else:
        success, unexpected = tally.success, tally.n_unexpected
        value = unexpected / tally.n_considered if tally.n_considered else None
        observed = _share(tally)
        examples = tuple(_example(example, plan.columns) for example in tally.examples)
    return ExpectationResult(
        name=expectation.name,
        expectation=expectation.type,
        severity=expectation.severity,
        success=success,
        expected=expectation.expected,
        observed=observed,
        value=value,
        element_count=tally.n_rows if tally else 0,
        unexpected_count=unexpected,
        examples=examples,
        why=expectation.why,
        about=tuple(f"{name}: {explain(name)}" for name in expectation.columns if explain(name)),
    )


def _too_little(expectation: Expectation, numbers: Mapping[str, Measured], n_rows: int) -> str:
    """Say why something that the table and its context allow was not checked all the same."""
    if n_rows and expectation.columns[0] in numbers:
        return "there is too little to measure it on"
    return "there are no rows to check"


def _example(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Say which row it is, in the order of the table, and then what was derived for it."""
    order = [*(name for name in columns if name in row), *(n for n in row if n not in columns)]
    return ", ".join(f"{name} {_number(row[name])}" for name in order)


def _share(tally: ExpectationTally) -> str:
    if not tally.n_unexpected:
        return f"all of {tally.n_considered:,} rows"
    share = tally.n_unexpected / tally.n_considered
    percent = f"{share:.1%}" if share >= 0.001 else "under 0.1%"
    return f"{tally.n_unexpected:,} of {tally.n_considered:,} rows fail ({percent})"


def _number(value: Any) -> str:
    if value is None:
        return "(empty)"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int) or (abs(value) >= 1 and float(value).is_integer()):
        return f"{int(value):,}"
    # Shares are read to four digits; 0.00007 is nothing, and no reader wants 6.971e-05.
    return f"{value:.4g}" if abs(value) >= 1e-3 or value == 0 else "under 0.001"


def _log(report: ValidationReport) -> None:
    for result in report.of("unchecked"):
        # That a table is empty is an expectation of its own, and the reason for all these.
        matters = result.severity == "critical" and report.n_rows and not result.element_count
        level = logging.WARNING if matters else logging.INFO
        logger.log(level, "%s: %s was not checked: %s", report.kind, result.name, result.observed)
    unmet = report.of("failed") + report.of("warning")
    # What follows from an empty table need not be told one by one.
    for result in unmet if report.n_rows else unmet[:1]:
        logger.warning(
            "%s: this does not hold: %s (expected %s, found %s)",
            *(report.kind, result.why.rstrip("."), result.expected, result.observed),
        )
