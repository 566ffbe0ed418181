"""Where a registered version comes from: its runs, data, code, parents and promotions.

What a run used is kept as MLflow's inputs of that run (`plmsae.tracking.run_inputs`), so that
MLflow's own pages show the same.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from plmsae.bundle.meta import EVAL_LABELS, TRAIN_RUN, BundleMeta
from plmsae.bundle.naming import parse_reference
from plmsae.core.errors import InputError
from plmsae.registry.mlflow_model import fetch_model
from plmsae.registry.promotion import promotion_log
from plmsae.registry.versions import find_registered, find_version
from plmsae.tracking.run_inputs import log_used_model
from plmsae.tracking.runs import Run
from plmsae.tracking.store import client, mlflow_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ORIGIN = "origin."


def log_used_version(run: Run, uri: str) -> None:
    """Log a registered version as an input of a run; do nothing for a folder.

    Parameters
    ----------
    uri : str
        As `plmsae.registry.models.resolve_exactly` gives it.
    """
    found = find_registered(client(run.tracking_uri), uri)
    if found is not None:
        log_used_model(run, found.model_id)


@dataclass(frozen=True, kw_only=True)
class UsedData:
    """Data that a run used, or that a model says it was made of."""

    role: str
    """What for: a context of `plmsae.tracking.run_inputs`, or ``labels``."""
    source: str
    """File name; empty for labels."""
    sha256: str
    """Fingerprint."""
    n_proteins: int | None = None
    n_residues: int | None = None

    def line(self) -> str:
        """Return it in words."""
        counts = [
            f"{n:,} {what}"
            for n, what in ((self.n_proteins, "proteins"), (self.n_residues, "residues"))
            if n is not None
        ]
        words = [text for text in (self.source, *counts) if text]
        return f"{self.role}: {', '.join([*words, f'SHA-256 {self.sha256[:12]}'])}"


@dataclass(frozen=True, kw_only=True)
class LineageRun:
    """A run on the way to the version."""

    run_id: str
    name: str
    experiment: str
    status: str
    """``FINISHED``, ``FAILED``, …; ``missing`` if the store does not have the run any more."""
    started: str
    """ISO 8601, UTC; empty if it is missing."""
    made: str
    """The version or logged model that it made and through which it was found; may be empty."""
    code: dict[str, str]
    """``plmsae`` (its version) and ``commit``, where known."""
    data: tuple[UsedData, ...]
    models: tuple[str, ...]
    """The versions (or logged models) that it used."""
    parent_run: str | None
    """The run inside which it ran."""

    def lines(self) -> list[str]:
        """Return it in words."""
        if self.status == "missing":
            return [f"run {self.run_id}: not in this store any more"]
        made = f", made {self.made}" if self.made else ""
        within = f", inside run {self.parent_run}" if self.parent_run else ""
        return [
            f"{self.name} ({self.experiment}, {self.started}, {self.status.lower()}{made})",
            f"  run {self.run_id}{within}",
            *([f"  code: {code_line(self.code)}"] if self.code else []),
            *(f"  {entry.line()}" for entry in self.data),
            *(f"  used: {model}" for model in self.models),
        ]


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where one version comes from."""

    model: str
    """``NAME/version``."""
    model_id: str
    aliases: tuple[str, ...]
    created: str
    """When its bundle was written, ISO 8601."""
    bundle_sha256: str
    plm: str
    plm_revision: str
    origin: str
    """``plmsae``, or where an imported SAE came from."""
    origin_facts: dict[str, Any]
    """What is known of that: repository, commit, file, its SHA-256 …"""
    code: dict[str, str]
    """What trained it: ``plmsae`` and ``commit``, where known."""
    data: tuple[UsedData, ...]
    """What the model itself says it was trained and measured on."""
    runs: tuple[LineageRun, ...]
    """The run that made the version first, then those that made what it used, backwards."""
    promotions: tuple[dict[str, Any], ...]
    """Moves of ``champion`` to or from this version, oldest first: ``at``, ``by``, ``from``,
    ``to``, ``reason``, ``overruled`` (the gates that were not met)."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """Return it in words."""
        aliases = "".join(f" @{alias}" for alias in self.aliases)
        lines = [
            f"{self.model}{aliases}",
            f"  logged model {self.model_id}, written {self.created}, SHA-256 of model.json "
            f"{self.bundle_sha256[:12]}",
            f"  PLM {self.plm} at {self.plm_revision or 'an unknown revision'}",
            f"  origin: {self.origin}",
            *(f"    {name}: {value}" for name, value in self.origin_facts.items()),
            *([f"  code: {code_line(self.code)}"] if self.code else []),
            *(f"  {entry.line()}" for entry in self.data),
            "runs, the last first:" if self.runs else "no run is known",
        ]
        for run in self.runs:
            lines += [f"  {line}" for line in run.lines()]
        lines.append("promotions:" if self.promotions else "never promoted")
        for move in self.promotions:
            before = f" from version {move['from']}" if move["from"] else ""
            lines.append(f"  {move['at']} champion{before} to version {move['to']}, {move['by']}")
            lines += [f"    reason: {move['reason']}"] if move["reason"] else []
            lines += [
                f"    overruled: {gate['expected']}, found {gate['found']}"
                for gate in move["overruled"]
            ]
        return lines


def code_line(code: Mapping[str, str]) -> str:
    """Return the version of plmsae and the commit in words."""
    version = f"plmsae {code['plmsae']}" if "plmsae" in code else "plmsae"
    return f"{version}, commit {code['commit']}" if "commit" in code else version


def lineage(ref: str, *, tracking_uri: str | None = None) -> Lineage:
    """Find out where a registered version comes from.

    Parameters
    ----------
    ref : str
        ``NAME@alias``, ``NAME/3`` or ``NAME`` (its champion), with or without ``models:/``.
    tracking_uri : str, optional
        See `plmsae.tracking.store.tracking_uri`.

    Raises
    ------
    InputError
        If there is no such version.
    UnsafeArtifactError
        If its content is not safe, or not what was registered.
    """
    store = client(tracking_uri)
    found = find_version(store, parse_reference(ref))
    if found.ref is None:
        raise InputError("only a registered version has a lineage", value=ref)
    bundle = fetch_model(store, found.model_id, expected_digest=found.digest)
    meta = bundle.meta
    with mlflow_errors(store.tracking_uri):
        version = store.get_model_version(found.ref.name, found.ref.version)
        aliases = tuple(sorted(version.aliases or ()))
        trained = meta.extra.get(TRAIN_RUN)
        runs = _runs(store, version.run_id, str(found.ref), trained)
    return Lineage(
        model=str(found.ref),
        model_id=found.model_id,
        aliases=aliases,
        created=meta.created,
        bundle_sha256=bundle.digest,
        plm=meta.plm,
        plm_revision=meta.plm_revision,
        origin=meta.origin,
        origin_facts={
            name.removeprefix(_ORIGIN): value
            for name, value in meta.extra.items()
            if name.startswith(_ORIGIN) and not name.startswith("origin.config.")
        },
        code=_code(meta.versions),
        data=_data_of_model(meta),
        runs=runs,
        promotions=_promotions(found.ref.name, found.ref.version, tracking_uri),
    )


def _code(facts: Mapping[str, str]) -> dict[str, str]:
    """Pick the code out of what `plmsae.tracking.environment.system_facts` wrote."""
    names = {"plmsae": "version.plmsae", "commit": "git.commit"}
    return {name: facts[tag] for name, tag in names.items() if tag in facts}


def _data_of_model(meta: BundleMeta) -> tuple[UsedData, ...]:
    data = [
        UsedData(role=role, **dataclasses.asdict(fingerprint))
        for role, fingerprint in (("train", meta.train_data), ("report", meta.eval_data))
        if fingerprint is not None
    ]
    labels = meta.extra.get(EVAL_LABELS)
    if isinstance(labels, str):
        data.append(UsedData(role="labels of report", source="", sha256=labels))
    return tuple(data)


def _runs(
    store: MlflowClient, run_id: str | None, made: str, trained: object
) -> tuple[LineageRun, ...]:
    """Follow the runs backwards: from the one that made the version to what that one used."""
    waiting = [(run_id, made)] if run_id else []
    found: dict[str, LineageRun] = {}
    while waiting or trained:
        if not waiting:
            # A bundle that was evaluated before anything was registered names its training.
            waiting, trained = [(str(trained), "")], None
        wanted, made = waiting.pop(0)
        if wanted in found:
            continue
        run, used = _run(store, wanted, made)
        found[wanted] = run
        waiting += used
    return tuple(found.values())


def _run(store: MlflowClient, run_id: str, made: str) -> tuple[LineageRun, list[tuple[str, str]]]:
    """Return one run, and the runs (with what they made) of the models that it used."""
    from mlflow.exceptions import MlflowException

    try:
        run = store.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        gone: dict[str, Any] = dict.fromkeys(("name", "experiment", "started"), "")
        gone |= {"code": {}, "data": (), "models": (), "parent_run": None}
        return LineageRun(run_id=run_id, status="missing", made=made, **gone), []
    tags = run.data.tags
    models = run.inputs.model_inputs if run.inputs else []
    datasets = run.inputs.dataset_inputs if run.inputs else []
    used = [_logged(store, model.model_id) for model in models]
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    entry = LineageRun(
        run_id=run_id,
        name=run.info.run_name or "",
        experiment=store.get_experiment(run.info.experiment_id).name,
        status=run.info.status,
        started=started.isoformat(timespec="seconds"),
        made=made,
        code=_code(tags),
        data=tuple(_used_data(dataset) for dataset in datasets),
        models=tuple(name for name, _ in used),
        parent_run=tags.get("mlflow.parentRunId"),
    )
    return entry, [(source, name) for name, source in used if source]


def _used_data(dataset: Any) -> UsedData:
    """Read an input of a run, also of one that plmsae did not log."""
    described = dataset.dataset
    tags = {tag.key: tag.value for tag in dataset.tags}
    try:
        profile = json.loads(described.profile or "{}")
    except ValueError:
        profile = {}
    profile = profile if isinstance(profile, dict) else {}
    return UsedData(
        role=tags.get("mlflow.data.context", "input"),
        source=described.name,
        sha256=str(profile.get("sha256", described.digest)),
        n_proteins=profile.get("num_proteins"),
        n_residues=profile.get("num_residues"),
    )


def _logged(store: MlflowClient, model_id: str) -> tuple[str, str | None]:
    """Return a logged model's version (else its id) and the run that made it, if it is known."""
    from mlflow.exceptions import MlflowException

    try:
        model = store.get_logged_model(model_id)
        listed = json.loads(model.tags.get("mlflow.modelVersions", "[]"))
    except (MlflowException, ValueError):
        return model_id, None
    name = f"{listed[0]['name']}/{listed[0]['version']}" if listed else model_id
    return name, model.source_run_id


def _promotions(name: str, version: str, uri: str | None) -> tuple[dict[str, Any], ...]:
    moves = []
    for row in promotion_log(name, tracking_uri=uri).iter_rows(named=True):
        if version not in (row["to"], row["from"]):
            continue
        failed = [gate for gate in json.loads(row["gates"]) if not gate["passed"]]
        kept = {field: row[field] for field in ("at", "by", "from", "to", "reason")}
        moves.append({**kept, "overruled": failed})
    return tuple(moves)
