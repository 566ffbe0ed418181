"""Promotion: which version is champion, decided by reviewed gates and written down.

MLflow moves an alias without a trace, so every move is kept as a tag of the registered model, one
tag per move. It is written before the alias moves, marked as not done, and again without the mark
after that: of a promotion that was interrupted the alias tells what became of it.
"""

from __future__ import annotations

import dataclasses
import getpass
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.bundle.meta import TRAIN_RUN, BundleMeta
from plmsae.bundle.naming import DEFAULT_ALIAS, Reference, parse_reference
from plmsae.core.errors import InputError, QualityError
from plmsae.registry.comparison import ModelComparison, compare_versions
from plmsae.registry.gates import Gate, GateResult, check_gates, load_gates
from plmsae.registry.mlflow_model import fetch_model
from plmsae.registry.quality_record import QUALITY_FAILED, has_failed, quality_verdicts
from plmsae.registry.versions import HEADLINE_METRICS, MAX_TAG, FoundVersion, ModelRef, find_version
from plmsae.tracking.store import client, mlflow_errors

if TYPE_CHECKING:
    import polars as pl
    from mlflow import MlflowClient

    from plmsae.bundle.reading import Bundle

_LOG = logging.getLogger(__name__)

_TAG = "plmsae.promotion."
_DONE = "done"
MAX_REASON = 500
"""Characters of a reason."""
OnChecked = Callable[[ModelComparison | None, tuple[GateResult, ...]], None]


class GatesNotMetError(QualityError):
    """A candidate does not meet the gates.

    Parameters
    ----------
    gates : tuple of GateResult
        All gates, those that are met included.
    comparison : ModelComparison, optional
        The candidate beside the champion, where there is one.
    """

    def __init__(
        self, gates: tuple[GateResult, ...], comparison: ModelComparison | None = None
    ) -> None:
        self.gates = gates
        self.comparison = comparison
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
    comparison: ModelComparison | None
    """The version beside the champion before; None if there was none, or it is the champion."""


def promote(
    ref: str,
    *,
    force: bool = False,
    reason: str = "",
    on_checked: OnChecked | None = None,
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
        Promote though gates fail; the log says so, with `reason`.
    reason : str, optional
        Why it is promoted; kept in the log. Needed with `force`.
    on_checked : callable, optional
        Called with the comparison (None without another champion) and the verdicts of the gates
        before anything is changed.
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
        If there is no such version, or `force` comes without a `reason`.
    UnsafeArtifactError
        If the version's content is not safe, or not what was registered.
    """
    reason = " ".join(reason.split())
    if force and not reason:
        raise InputError(
            "overruling gates needs a reason, which the promotion log keeps",
            where="--force",
            hint="add --reason TEXT",
        )
    if len(reason) > MAX_REASON:
        raise InputError(f"longer than {MAX_REASON} characters", where="--reason")
    gates = load_gates(gates_file)
    store = client(tracking_uri)
    version, candidate, bundle = _candidate(store, ref)
    with mlflow_errors(store.tracking_uri):
        _settle(store, candidate.name)
        verdicts = _verdicts(store, version, bundle.meta)
    previous, champion = _champion(store, candidate)
    stands = previous == candidate.version
    comparison = None
    if champion is not None:
        # The headline first, then whatever else a gate asks for.
        names = dict.fromkeys((*HEADLINE_METRICS, *(gate.metric for gate in gates)))
        comparison = compare_versions(
            (f"{candidate.name}/{previous}", champion), (str(candidate), bundle.meta), tuple(names)
        )
    results = check_version(
        gates,
        bundle.meta.metrics,
        verdicts,
        champion=None if champion is None else champion.metrics,
        no_champion="it is the champion itself" if stands else "no champion yet",
        incomparable=None if comparison is None or comparison.same_data else comparison.data,
    )
    if on_checked is not None:
        on_checked(comparison, results)
    failed = not stands and any(not result.passed for result in results)
    if failed and not force:
        raise GatesNotMetError(results, comparison)
    if not stands:
        key, entry = _entry(candidate, previous, results, forced=failed, reason=reason)
        with mlflow_errors(store.tracking_uri):
            _write_down(store, candidate.name, key, {**entry, _DONE: False})
            store.set_registered_model_alias(candidate.name, DEFAULT_ALIAS, candidate.version)
            _write_down(store, candidate.name, key, entry)
        _LOG.info("%s is champion now (was %s)", candidate, previous or "none")
    return PromotionResult(
        ref=candidate,
        previous=previous,
        gates=results,
        promoted=not stands,
        forced=failed,
        comparison=comparison,
    )


def _candidate(store: MlflowClient, ref: str) -> tuple[FoundVersion, ModelRef, Bundle]:
    """Return the registered version that `ref` names, and its bundle, checked.

    The metrics come from there, not from tags that anyone can edit.
    """
    wanted = parse_reference(ref)
    if wanted.model_id is None:
        if "@" not in ref and wanted.version is None:
            wanted = Reference(name=wanted.name, alias="challenger")
        candidate = find_version(store, wanted)
        if candidate.ref is not None:
            bundle = fetch_model(store, candidate.model_id, expected_digest=candidate.digest)
            if bundle.name != candidate.ref.name:
                raise InputError(f"the model inside is {bundle.name}", where=str(candidate.ref))
            return candidate, candidate.ref, bundle
    raise InputError("only a registered version can be promoted", value=ref)


def check_version(
    gates: tuple[Gate, ...],
    metrics: Mapping[str, float],
    verdicts: Mapping[str, str],
    *,
    champion: Mapping[str, float] | None = None,
    no_champion: str = "no champion yet",
    incomparable: str | None = None,
) -> tuple[GateResult, ...]:
    """Hold a version against the gates: its metrics, and what the quality gates said of it.

    Parameters
    ----------
    gates, metrics, champion, no_champion, incomparable
        As `plmsae.registry.gates.check_gates` takes them.
    verdicts : mapping
        From `plmsae.registry.quality_record.quality_verdicts`.
    """
    failed = {kind: verdict for kind, verdict in verdicts.items() if has_failed(verdict)}
    counted = {QUALITY_FAILED: float(len(failed))} if verdicts else {}
    results = check_gates(
        gates, {**metrics, **counted}, champion, no_champion=no_champion, incomparable=incomparable
    )
    said = "; ".join(f"{kind}: {verdict}" for kind, verdict in (failed or verdicts).items())
    return tuple(
        dataclasses.replace(result, found=f"{len(failed)} ({said})"[:500])
        if result.gate.metric == QUALITY_FAILED and verdicts
        else result
        for result in results
    )


def _verdicts(store: MlflowClient, version: FoundVersion, meta: BundleMeta) -> dict[str, str]:
    """Return what the quality gates said of a version, also in the training before its run."""
    trained = meta.extra.get(TRAIN_RUN)
    runs = (trained if isinstance(trained, str) else None, version.run_id)
    return quality_verdicts(store, runs, version.tags)


def _champion(store: MlflowClient, candidate: ModelRef) -> tuple[str | None, BundleMeta | None]:
    """Return the champion's version and what its bundle says; None for what there is not."""
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
    return str(version), bundle.meta


def _entry(
    ref: ModelRef,
    previous: str | None,
    results: tuple[GateResult, ...],
    *,
    forced: bool,
    reason: str,
) -> tuple[str, dict[str, Any]]:
    """Return the name of the tag of a promotion, and what it says."""
    now = datetime.now(UTC)
    entry: dict[str, Any] = {
        "at": now.isoformat(timespec="seconds"),
        "by": _who(),
        "from": previous,
        "to": ref.version,
        "model_id": ref.model_id,
        "forced": forced,
        "reason": reason,
        "gates": [{"expected": r.expected, "found": r.found, "passed": r.passed} for r in results],
    }
    if len(json.dumps({**entry, _DONE: False})) > MAX_TAG:
        entry["gates"] = [gate for gate in entry["gates"] if not gate["passed"]][:10]
    # One tag per move, keyed by its time: two people promoting at once lose neither entry.
    return f"{_TAG}{now.strftime('%Y%m%dT%H%M%S.%fZ')}", entry


def _write_down(store: MlflowClient, name: str, key: str, entry: Mapping[str, Any]) -> None:
    store.set_registered_model_tag(name, key, json.dumps(entry)[:MAX_TAG])


def _entries(model: Any) -> dict[str, dict[str, Any]]:
    """Return the entries of the log of a registered model by tag, oldest first."""
    found = {}
    for key in sorted(key for key in model.tags if key.startswith(_TAG)):
        try:
            found[key] = dict(json.loads(model.tags[key]))
        except (ValueError, TypeError):
            _LOG.warning("promotion log entry %s is not readable", key)
    return found


def _happened(model: Any, entries: Mapping[str, Mapping[str, Any]], key: str) -> bool:
    """Tell whether a promotion of the log was made; of an interrupted one the alias tells."""
    if entries[key].get(_DONE, True):
        return True
    made = str(model.aliases.get(DEFAULT_ALIAS)) == entries[key].get("to")
    return made and key == max(entries)


def _settle(store: MlflowClient, name: str) -> None:
    """Make the log say what became of promotions that were interrupted."""
    model = store.get_registered_model(name)
    entries = _entries(model)
    for key, entry in entries.items():
        if entry.get(_DONE, True):
            continue
        if _happened(model, entries, key):
            _write_down(store, name, key, {k: v for k, v in entry.items() if k != _DONE})
        else:
            store.delete_registered_model_tag(name, key)


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
    tracking_uri : str, optional
        See `store.tracking_uri`.

    Returns
    -------
    DataFrame
        ``at`` (ISO 8601, UTC), ``by``, ``from`` (null for the first), ``to``, ``forced``,
        ``reason`` (null if none was given), ``gates`` (JSON).
    """
    import polars as pl

    store = client(tracking_uri)
    with mlflow_errors(store.tracking_uri, what=f"no registered model {name}"):
        model = store.get_registered_model(name)
    rows = []
    entries = _entries(model)
    for key, entry in entries.items():
        if not _happened(model, entries, key):
            continue
        text = {field: entry.get(field) for field in ("at", "by", "from", "to")}
        gates = json.dumps(entry.get("gates", []))
        forced, reason = bool(entry.get("forced")), entry.get("reason") or None
        rows.append({**text, "forced": forced, "reason": reason, "gates": gates})
    schema = {
        **dict.fromkeys(("at", "by", "from", "to"), pl.String),
        **{"forced": pl.Boolean, "reason": pl.String, "gates": pl.String},
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
