"""Which expectations can be checked on a given table, on rows or on numbers, and which cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plmsae.core.errors import InputError
from plmsae.quality.context import Context
from plmsae.quality.derived import DERIVED
from plmsae.quality.measures import MEASURES
from plmsae.quality.suites import Expectation, Suite


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be done with each expectation of a suite."""

    on_rows: tuple[Expectation, ...]
    """Checked on every batch of rows."""
    on_numbers: tuple[Expectation, ...]
    """Checked on measures of the whole table."""
    skipped: Mapping[str, str]
    """Name of an expectation that cannot be checked, and why not."""
    columns: tuple[str, ...]
    """Columns of the table to read for the rows."""
    derived: tuple[str, ...]
    """Derived columns to compute for each batch."""
    measures: tuple[str, ...]
    """Measures to compute."""


def make_plan(suite: Suite, present: Sequence[str], context: Context) -> Plan:
    """Sort the expectations of a suite by what the table and the context allow.

    Parameters
    ----------
    present : sequence of str
        Columns the table has, of those the suite names.
    context : Context
        The other tables that are there.

    Raises
    ------
    InputError
        If an expectation names something that is no column of the suite, no derived column and no
        measure for this kind of table, or mixes rows with measures.
    """
    on_rows: list[Expectation] = []
    on_numbers: list[Expectation] = []
    skipped: dict[str, str] = {}
    read: set[str] = set()
    derive: set[str] = set()
    measure: set[str] = set()
    for expectation in suite.expectations:
        names = expectation.columns
        numbers = [name for name in names if _is_measure(suite, name)]
        if numbers and len(numbers) < len(names):
            raise InputError(
                "the expectation mixes a measure with a column",
                where=suite.path,
                record=expectation.name,
            )
        columns, needs = _requirements(suite, expectation)
        lacking = [column for column in columns if column not in present]
        missing = [key for key in needs if not context.has([key])]
        if lacking:
            skipped[expectation.name] = f"the table has no column {', '.join(lacking)}"
        elif missing:
            absent = ", ".join(_IN_WORDS.get(key, key) for key in missing)
            skipped[expectation.name] = f"no {absent} to compare with"
        elif numbers:
            on_numbers.append(expectation)
            measure.update(numbers)
        else:
            on_rows.append(expectation)
            read.update(columns)
            derive.update(name for name in names if name in DERIVED)
    if on_rows:
        read.update(column for column in suite.identify if column in present)
    return Plan(
        on_rows=tuple(on_rows),
        on_numbers=tuple(on_numbers),
        skipped=skipped,
        columns=tuple(column for column in present if column in read),
        derived=tuple(sorted(derive)),
        measures=tuple(sorted(measure)),
    )


_IN_WORDS = {
    "registered": "registered model",
    "backtest": "back-test",
    "asked": "precision asked for",
}
"""Keys of the context that are no words for what they hold."""


def explain(name: str) -> str:
    """Say in words what a derived column or a measure is; empty for a plain column."""
    if name in DERIVED:
        return DERIVED[name].what
    return MEASURES[name].what if name in MEASURES else ""


def _is_measure(suite: Suite, name: str) -> bool:
    return name in MEASURES and suite.kind in MEASURES[name].kinds


def _requirements(suite: Suite, expectation: Expectation) -> tuple[set[str], list[str]]:
    columns: set[str] = set()
    needs: list[str] = []
    for name in expectation.columns:
        if name in suite.required or name in suite.optional:
            columns.add(name)
        elif name in DERIVED and suite.kind in DERIVED[name].kinds:
            columns.update(DERIVED[name].columns)
            needs += [key for key in DERIVED[name].needs if key not in needs]
        elif _is_measure(suite, name):
            columns.update(MEASURES[name].columns)
            needs += [key for key in MEASURES[name].needs if key not in needs]
        else:
            raise InputError(
                f"{suite.kind} have no column, derived column or measure of this name",
                where=suite.path,
                record=expectation.name,
                value=name,
            )
    return columns, needs
