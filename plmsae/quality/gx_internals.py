"""The parts of Great Expectations that are used here and that it does not promise to keep.

Its public API has no way to turn progress bars off, and none to show results in Data Docs that were
added up over batches; its import ends the process where PySpark lacks a package. Should a new
version break one of these functions, this is the file to mend;
``tests/quality/test_gx_internals.py`` says which.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def import_library() -> Any:
    """Import Great Expectations, also beside a PySpark that was installed without Spark Connect.

    Great Expectations imports all that it can of PySpark. Without grpc the import of
    ``pyspark.sql.connect`` ends a process that was started with ``python -c``, where it should
    raise an ImportError (``pyspark/sql/connect/utils.py``, ``check_dependencies``).
    """
    with _no_spark_connect():
        import great_expectations
    return great_expectations


@contextmanager
def _no_spark_connect() -> Iterator[None]:
    name = "pyspark.sql.connect"
    if name in sys.modules or find_spec("grpc") is not None:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # importing it raises ImportError
    try:
        yield
    finally:
        sys.modules.pop(name, None)


def ephemeral_context() -> Any:
    """Return a context that keeps everything in memory, reports nothing and draws no progress."""
    gx = import_library()
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
            analytics_enabled=False,
        ),
    )


def put_result(context: Any, suite_name: str, result: Any) -> None:
    """Keep a result that no validation of one batch made, so that Data Docs show it.

    Parameters
    ----------
    suite_name : str
        The suite it is of.
    result : ExpectationSuiteValidationResult
        Its ``meta["run_id"]`` says which run made it.
    """
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    identifier = ValidationResultIdentifier(
        expectation_suite_identifier=ExpectationSuiteIdentifier(name=suite_name),
        run_id=result.meta["run_id"],
        batch_identifier="all",
    )
    context.validation_results_store.set(identifier, result)
