"""What the quality gates said of a version: as its runs recorded it, and in its own tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

QUALITY_FAILED = "quality_failed"
"""Name, in ``promotion.yaml``, of the number of quality gates that failed critically."""

_PREFIX = "quality_"
_FAILED = "_failed"
_NO_VERDICT = "quality_warnings"  # a tag of versions that names warnings, no verdict


def quality_verdicts(
    store: MlflowClient, runs: Iterable[str | None], tags: Mapping[str, str]
) -> dict[str, str]:
    """Return the verdict of each quality gate, by what it checked (``proteins``, ``models`` …).

    Parameters
    ----------
    runs : iterable of str or None
        Those that made the version; of one that the store lost nothing is known.

    Returns
    -------
    dict of str to str
        Where several sources speak of one gate, a failure overrules.
    """
    from mlflow.exceptions import MlflowException

    found: dict[str, str] = {}
    for run_id in dict.fromkeys(run for run in runs if run):
        try:
            data = store.get_run(run_id).data
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            continue
        counts = {
            f"{name[: -len(_FAILED)]}": f"{n:g} expectations failed critically"
            for name, n in data.metrics.items()
            if name.startswith(_PREFIX) and name.endswith(_FAILED) and n > 0
        }
        _take(found, data.tags)
        _take(found, counts)
    _take(found, tags)
    return dict(sorted(found.items()))


def quality_tags(verdicts: Mapping[str, str]) -> dict[str, str]:
    """Return verdicts as tags of a version: its run may be deleted one day."""
    return {f"{_PREFIX}{kind}": verdict for kind, verdict in verdicts.items()}


def _take(found: dict[str, str], tags: Mapping[str, str]) -> None:
    for tag, verdict in tags.items():
        kind = tag.removeprefix(_PREFIX)
        if tag in (kind, _NO_VERDICT) or has_failed(found.get(kind, "")):
            continue
        if kind not in found or has_failed(verdict):
            found[kind] = verdict


def has_failed(verdict: str) -> bool:
    """Tell whether a verdict (`plmsae.quality.report.ValidationReport.verdict`) is a failure."""
    return "failed" in verdict.lower()
