"""The parts of Great Expectations that are used here and that it does not promise to keep.

Its public API has no way to turn progress bars off, and none to show results in Data Docs that were
added up over batches. Should a new version break one of these functions, this is the file to mend;
``tests/quality/test_gx_internals.py`` says which.
"""

from __future__ import annotations

from typing import Any


def ephemeral_context() -> Any:
    """Return a context that keeps everything in memory, reports nothing and draws no progress."""
    import great_expectations as gx
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
    context : EphemeralDataContext
        Where to keep it.
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
