"""Great Expectations, driven batch by batch: evaluate, add up, write Data Docs.

Only row-wise expectations come here, so counts of batches can be added, and the sum is what one
batch of everything would have given (a test compares the two). Results are asked for in the
``SUMMARY`` format: ``COMPLETE`` lists every offending row and takes minutes and gigabytes.
"""

from __future__ import annotations

import html
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.core.errors import InputError, PlmsaeError
from plmsae.quality.gx_internals import ephemeral_context, import_library, put_result
from plmsae.quality.measure import EXAMPLES
from plmsae.quality.suites import Expectation, Suite

if TYPE_CHECKING:
    import pandas as pd

# Types whose share is taken of all rows; the others leave rows without a value out.
_OF_ALL_ROWS = frozenset({"expect_column_values_to_not_be_null", "expect_column_values_to_be_null"})

_GX_ID = "plmsae_name"


@dataclass(kw_only=True)
class ExpectationTally:
    """The counts of one expectation, added up over batches."""

    expectation: Expectation
    n_rows: int = 0
    n_missing: int = 0
    """Rows left out because they have no value there."""
    n_unexpected: int = 0
    """Rows that do not meet it."""
    values: list[Any] = field(default_factory=list)
    """A few unexpected values."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    """The same with the columns that identify their rows."""
    config: Any = None
    """Great Expectations' own configuration of it, for Data Docs."""

    @property
    def n_considered(self) -> int:
        """Rows the share is taken of."""
        of_all = self.expectation.type in _OF_ALL_ROWS
        return self.n_rows if of_all else self.n_rows - self.n_missing

    @property
    def success(self) -> bool:
        """Whether enough of the rows meet it; true of no rows."""
        if self.n_considered == 0:
            return True
        met = (self.n_considered - self.n_unexpected) / self.n_considered
        return met >= self.expectation.mostly

    def add(self, result: Any) -> None:
        """Add Great Expectations' result on one more batch."""
        counts = result.result
        self.config = self.config or result.expectation_config
        self.n_rows += int(counts["element_count"])
        self.n_missing += int(counts.get("missing_count") or 0)
        self.n_unexpected += int(counts["unexpected_count"])
        room = EXAMPLES - len(self.examples)
        rows = counts.get("partial_unexpected_index_list") or []
        self.examples += [
            {str(key): plain(value) for key, value in row.items()}
            for row in rows[:room]
            if isinstance(row, Mapping)  # row numbers, where no columns identify a row
        ]
        room = EXAMPLES - len(self.values)
        self.values += [plain(value) for value in counts["partial_unexpected_list"][:room]]


def plain(value: Any) -> Any:
    """Turn what numpy and pandas hold into what JSON can: numbers, strings, lists, None."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        # pandas makes floats of integers with gaps, and NaN of a gap.
        if value != value:
            return None
        return int(value) if value.is_integer() else value
    return value if isinstance(value, int | str | bool) or value is None else str(value)


class Engine:
    """An ephemeral Great Expectations context that writes nothing but what it is told to.

    Parameters
    ----------
    suite : Suite
        Named in Data Docs.
    """

    def __init__(self, suite: Suite) -> None:
        # Great Expectations reads it on import. It is set, and not only defaulted: no part of a
        # pipeline on somebody's proteins may report home.
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        with _quiet():
            self._gx = import_library()
            self._suite = suite
            self._context = ephemeral_context()
            source = self._context.data_sources.add_pandas(suite.kind)
            self._definition = source.add_dataframe_asset(
                suite.kind
            ).add_batch_definition_whole_dataframe("rows")

    def check(
        self,
        expectations: Sequence[Expectation],
        batches: Iterable[pd.DataFrame],
        identify: Sequence[str] = (),
    ) -> list[ExpectationTally]:
        """Evaluate expectations on every batch and add up.

        Parameters
        ----------
        batches : iterable of pandas.DataFrame
            One after the other, so that memory holds one at a time.
        identify : sequence of str
            Columns of the batches that say which row an example is.

        Returns
        -------
        list of ExpectationTally
            One for each expectation, in their order.

        Raises
        ------
        InputError
            If Great Expectations refuses an expectation's arguments.
        PlmsaeError
            If it cannot evaluate one; that is never taken for bad data.
        """
        tallies = {e.name: ExpectationTally(expectation=e) for e in expectations}
        if not expectations:
            return []
        with _quiet():
            suite = self._gx.ExpectationSuite(
                name=f"{self._suite.kind}_batch",
                expectations=[self._translate(expectation) for expectation in expectations],
            )
            result_format = {
                "result_format": "SUMMARY",
                "partial_unexpected_count": EXAMPLES,
                "unexpected_index_column_names": list(identify),
            }
            for frame in batches:
                batch = self._definition.get_batch(batch_parameters={"dataframe": frame})
                outcome = batch.validate(suite, result_format=result_format)
                for result in outcome.results:
                    config: Any = result.expectation_config
                    name = config.meta[_GX_ID]
                    if "element_count" not in (result.result or {}):
                        raise PlmsaeError(
                            f"Great Expectations could not evaluate {name} of the suite "
                            f"{self._suite.kind}: {_reason(result.exception_info)}"
                        )
                    tallies[name].add(result)
        return list(tallies.values())

    def write_data_docs(
        self, tallies: Sequence[ExpectationTally], folder: Path, *, source: str
    ) -> Path:
        """Write Great Expectations' pages on the summed results of `source` into `folder`.

        Returns
        -------
        Path
            Its ``index.html``.
        """
        with _quiet():
            from great_expectations.core.expectation_validation_result import (
                ExpectationSuiteValidationResult,
                ExpectationValidationResult,
            )
            from great_expectations.core.run_identifier import RunIdentifier

            kind = self._suite.kind
            run = RunIdentifier(run_name="plmsae")
            results = [
                ExpectationValidationResult(
                    success=tally.success,
                    expectation_config=tally.config,
                    result=_summary(tally),
                    exception_info={
                        "raised_exception": False,
                        "exception_message": None,
                        "exception_traceback": None,
                    },
                )
                for tally in tallies
            ]
            n_met = sum(tally.success for tally in tallies)
            whole = ExpectationSuiteValidationResult(
                success=n_met == len(tallies),
                results=results,
                suite_name=kind,
                statistics={
                    "evaluated_expectations": len(tallies),
                    "successful_expectations": n_met,
                    "unsuccessful_expectations": len(tallies) - n_met,
                    "success_percent": 100 * n_met / len(tallies) if tallies else None,
                },
                meta={
                    "great_expectations_version": self._gx.__version__,
                    "run_id": run,
                    "batch_kwargs": {"data_asset_name": html.escape(source)},
                },
            )
            self._context.suites.add(
                self._gx.ExpectationSuite(
                    name=kind, expectations=[self._translate(t.expectation) for t in tallies]
                )
            )
            put_result(self._context, kind, whole)
            site: Any = {  # its typed dictionary lacks show_how_to_buttons
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(folder),
                },
            }
            self._context.add_data_docs_site(kind, site)
            self._context.build_data_docs(site_names=[kind])
        return folder / "index.html"

    def _translate(self, expectation: Expectation) -> Any:
        import great_expectations.expectations as library

        name = "".join(word.capitalize() for word in expectation.type.split("_"))
        try:
            return getattr(library, name)(
                **expectation.kwargs,
                severity=expectation.severity,
                notes=expectation.why,
                meta={_GX_ID: expectation.name},
            )
        except (ValueError, TypeError) as error:  # its pydantic's errors are ValueErrors
            reason = " ".join(str(error).split())
            raise InputError(
                "Great Expectations refuses the expectation",
                where=self._suite.path,
                record=expectation.name,
                hint=reason,
            ) from error


def _summary(tally: ExpectationTally) -> dict[str, Any]:
    def percent(of: int) -> float | None:
        return 100 * tally.n_unexpected / of if of else None

    return {
        "element_count": tally.n_rows,
        "missing_count": tally.n_missing,
        "missing_percent": 100 * tally.n_missing / tally.n_rows if tally.n_rows else None,
        "unexpected_count": tally.n_unexpected,
        "unexpected_percent": percent(tally.n_considered),
        "unexpected_percent_total": percent(tally.n_rows),
        "unexpected_percent_nonmissing": percent(tally.n_considered),
        "partial_unexpected_list": [_safe(value) for value in tally.values],
    }


def _safe(value: Any) -> Any:
    """Escape text: Great Expectations puts values into its pages as they are, markup and all."""
    if isinstance(value, list):
        return ", ".join(str(_safe(item)) for item in value)
    return html.escape(value) if isinstance(value, str) else value


def _reason(exception_info: Mapping[str, Any] | None) -> str:
    info: Any = exception_info or {}
    if "exception_message" not in info:  # keyed by metric
        info = next(iter(info.values()), {})
    return " ".join(str(info.get("exception_message", "no reason given")).split())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Great Expectations' own logging to errors while it works, and put it back after."""
    logger = logging.getLogger("great_expectations")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
