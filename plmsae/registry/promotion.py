"""Promotion: which version is champion, decided by reviewed gates and written down.

MLflow moves an alias without a trace, so every move is kept as a tag of the registered model:
one tag a move, never changed.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.bundle.naming import DEFAULT_ALIAS, Reference, parse_reference
from plmsae.core.errors import InputError, QualityError
from plmsae.registry.gates import GateResult, check_gates, load_gates
from plmsae.registry.mlflow_model import fetch_model
from plmsae.registry.versions import ModelRef, find_version
from plmsae.tracking.store import client, mlflow_errors

if TYPE_CHECKING:
    import polars as pl
    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)

_TAG = "plmsae.promotion."
_MAX_TAG = 4900


class GatesNotMetError(QualityError):
    """A candidate does not meet the gates.

    Parameters
    ----------
    gates : tuple of GateResult
        All gates, those that are met included.
    """

    def __init__(self, gates: tuple[GateResult, ...]) -> None:
        self.gates = gates
        first, *rest = [gate for gate in gates if not gate.passed]
        found = first.found
        if first.gate.why:
            found += f" — {first.gate.why.rstrip('.')}"
        if rest:
            found += f"; also failing: {', '.join(f'{r.expected}, found {r.found}' for r in rest)}"
        super().__init__(first.expected, found)


@dataclass(frozen=True, kw_only=True)
class PromotionResult:
    """What `promote` did."""

    ref: ModelRef
    """The version that was asked for."""
    previous: str | None
    """The version that was champion before, or None."""
    gates: tuple[GateResult, ...]
    """All gates, in the order of the file."""
    promoted: bool
    """False if it was champion already."""
    forced: bool
    """True if a gate failed and `force` overruled it."""


def promote(
    ref: str,
    *,
    force: bool = False,
    tracking_uri: str | None = None,
    gates_file: Path | None = None,
) -> PromotionResult:
    """Make a registered version the champion of its name, if it meets the gates.

    Parameters
    ----------
    ref : str
        ``NAME@alias`` or ``NAME/3`` (with or without ``models:/``); ``NAME`` alone means its
        ``challenger``.
    force : bool, optional
        Promote though gates fail; the log says so.
    tracking_uri : str, optional
        See `store.tracking_uri`.
    gates_file : Path, optional
        Instead of ``registry/promotion.yaml``.

    Returns
    -------
    PromotionResult
        With what every gate expected and found.

    Raises
    ------
    GatesNotMetError
        If a gate is not met (exit code 3); the champion stays.
    InputError
        If there is no such version.
    UnsafeArtifactError
        If the version's content is not safe, or not what was registered.
    """
    gates = load_gates(gates_file)
    store = client(tracking_uri)
    wanted = parse_reference(ref)
    if wanted.model_id is not None:
        raise InputError("only a registered version can be promoted", value=ref)
    if "@" not in ref and wanted.version is None:
        wanted = Reference(name=wanted.name, alias="challenger")
    candidate = find_version(store, wanted)
    if candidate.ref is None:
        raise InputError("only a registered version can be promoted", value=ref)
    # The metrics come from the checked bundle, not from tags that anyone can edit.
    bundle = fetch_model(store, candidate.model_id, expected_digest=candidate.digest)
    if bundle.name != candidate.ref.name:
        raise InputError(f"the model inside is {bundle.name}", where=str(candidate.ref))
    previous, champion = _champion(store, candidate.ref)
    if previous == candidate.ref.version:
        results = check_gates(
            gates, bundle.meta.metrics, None, no_champion="it is the champion itself"
        )
        return PromotionResult(
            ref=candidate.ref, previous=previous, gates=results, promoted=False, forced=False
        )
    results = check_gates(gates, bundle.meta.metrics, champion)
    failed = [result for result in results if not result.passed]
    if failed and not force:
        raise GatesNotMetError(results)
    with mlflow_errors(store.tracking_uri):
        store.set_registered_model_alias(candidate.ref.name, DEFAULT_ALIAS, candidate.ref.version)
        _write_down(store, candidate.ref, previous, results, forced=bool(failed))
    _LOG.info("%s is champion now (was %s)", candidate.ref, previous or "none")
    return PromotionResult(
        ref=candidate.ref, previous=previous, gates=results, promoted=True, forced=bool(failed)
    )


def _champion(
    store: MlflowClient, candidate: ModelRef
) -> tuple[str | None, Mapping[str, float] | None]:
    """Return the champion's version and metrics; None for what there is not."""
    from mlflow.exceptions import MlflowException

    try:
        version = store.get_model_version_by_alias(candidate.name, DEFAULT_ALIAS).version
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None, None
        with mlflow_errors(store.tracking_uri):
            raise
    if str(version) == candidate.version:
        return str(version), None
    found = find_version(store, Reference(name=candidate.name, version=str(version)))
    bundle = fetch_model(store, found.model_id, expected_digest=found.digest)
    return str(version), bundle.meta.metrics


def _write_down(
    store: MlflowClient,
    ref: ModelRef,
    previous: str | None,
    results: tuple[GateResult, ...],
    *,
    forced: bool,
) -> None:
    now = datetime.now(UTC)
    entry: dict[str, Any] = {
        "at": now.isoformat(timespec="seconds"),
        "by": _who(),
        "from": previous,
        "to": ref.version,
        "model_id": ref.model_id,
        "forced": forced,
        "gates": [{"expected": r.expected, "found": r.found, "passed": r.passed} for r in results],
    }
    if len(json.dumps(entry)) > _MAX_TAG:
        entry["gates"] = [gate for gate in entry["gates"] if not gate["passed"]][:10]
    # One tag a move, keyed by its time: two people promoting at once lose neither entry.
    key = f"{_TAG}{now.strftime('%Y%m%dT%H%M%S.%fZ')}"
    store.set_registered_model_tag(ref.name, key, json.dumps(entry)[:_MAX_TAG])


def _who() -> str:
    named = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if named:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"  # A container without a user database.


def promotion_log(name: str, *, tracking_uri: str | None = None) -> pl.DataFrame:
    """Return who made which version champion, and when, oldest first.

    Parameters
    ----------
    name : str
        A registered name.
    tracking_uri : str, optional
        See `store.tracking_uri`.

    Returns
    -------
    DataFrame
        ``at`` (ISO 8601, UTC), ``by``, ``from`` (null for the first), ``to``, ``forced``,
        ``gates`` (JSON).
    """
    import polars as pl

    store = client(tracking_uri)
    with mlflow_errors(store.tracking_uri, what=f"no registered model {name}"):
        tags = store.get_registered_model(name).tags
    rows = []
    for key in sorted(key for key in tags if key.startswith(_TAG)):
        try:
            entry = json.loads(tags[key])
        except ValueError:
            _LOG.warning("promotion log entry %s is not readable", key)
            continue
        text = {field: entry.get(field) for field in ("at", "by", "from", "to")}
        gates = json.dumps(entry.get("gates", []))
        rows.append({**text, "forced": bool(entry.get("forced")), "gates": gates})
    schema = {
        **dict.fromkeys(("at", "by", "from", "to"), pl.String),
        **{"forced": pl.Boolean, "gates": pl.String},
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
