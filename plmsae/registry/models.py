"""The model registry: bundles in, bundles out, and what is registered.

A registered version is an MLflow pyfunc model whose loader is ``plmsae.scoring.pyfunc`` and whose
data is the bundle folder. Nothing is pickled and no code travels with it; a model that says
otherwise is refused before anything of it is opened.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.bundle.meta import QUALITY_WARNINGS, BundleMeta
from plmsae.bundle.metric_names import charted
from plmsae.bundle.naming import parse_reference
from plmsae.bundle.reading import Bundle, read_bundle
from plmsae.core.resources import READY, ready_model
from plmsae.registry.mlflow_model import fetch_model, read_model_folder, save_model_folder
from plmsae.registry.pages import describe_version
from plmsae.registry.quality_record import quality_tags, quality_verdicts
from plmsae.registry.versions import (
    DIGEST_TAG,
    HEADLINE_METRICS,
    MAX_TAG,
    ModelRef,
    find_registered,
    find_version,
    ref_of,
    search_versions,
)
from plmsae.tracking.outage import is_unanswered, not_waiting
from plmsae.tracking.store import (
    client,
    experiment_id,
    few_retries,
    mlflow_errors,
    redact,
    tracking_uri,
)

if TYPE_CHECKING:
    import polars as pl
    from mlflow import MlflowClient

__all__ = [
    "HEADLINE_METRICS",
    "compare",
    "list_models",
    "log_version_metrics",
    "register",
    "resolve",
]

_LOG = logging.getLogger(__name__)

METRICS_TAG = "metrics"
_ATTEMPTS = 5


def register(
    bundle: Bundle | Path,
    *,
    tracking_uri: str | None = None,
    run_id: str | None = None,
    aliases: Sequence[str] = ("challenger",),
    tags: Mapping[str, str] | None = None,
) -> ModelRef:
    """Store a bundle as a new version of the model of its name.

    The PLM is not loaded and nothing is predicted, so registering takes seconds for any PLM.

    Parameters
    ----------
    bundle : Bundle or Path
        What to register; checked again, file by file.
    tracking_uri : str, optional
        See `store.tracking_uri`.
    run_id : str, optional
        The run that made it; its metrics in MLflow are then tied to the model. By default the
        run that is active in this process, if any.
    aliases : sequence of str, optional
        Set on the new version. ``champion`` is moved by `promotion.promote`, which checks first.
    tags : mapping, optional
        Set on the version beside the identity and the headline metrics.

    Returns
    -------
    ModelRef
        The new version.

    Raises
    ------
    UnsafeArtifactError, InputError
        If the bundle is not in order, or MLflow refuses.
    """
    checked = read_bundle(bundle.path if isinstance(bundle, Bundle) else bundle)
    store = client(tracking_uri)
    run_id = run_id or _active_run(store)
    with mlflow_errors(store.tracking_uri):
        _ensure_registered(store, checked.meta)
        model_id = _log_model(store, checked, run_id)
        quality = quality_verdicts(store, [run_id], tags or {})
        created = _create_version(
            store,
            name=checked.name,
            source=f"models:/{model_id}",
            run_id=run_id,
            tags={**version_tags(checked), **quality_tags(quality), **(tags or {})},
            model_id=model_id,
        )
        ref = ModelRef(name=checked.name, version=str(created.version), model_id=model_id)
        # Its commands name this version for good; aliases move on.
        describe_version(store, ref, checked, run_id, quality)
        # MLflow's own pages read this tag to link the logged model to its versions.
        link = json.dumps([{"name": ref.name, "version": created.version}])
        store.set_logged_model_tags(model_id, {"mlflow.modelVersions": link})
        for alias in aliases:
            store.set_registered_model_alias(ref.name, alias, ref.version)
    _LOG.info("registered %s (%s)", ref, redact(store.tracking_uri))
    return ref


def _active_run(store: MlflowClient) -> str | None:
    import mlflow

    run = mlflow.active_run()
    if run is None or tracking_uri(mlflow.get_tracking_uri()) != store.tracking_uri:
        return None
    return str(run.info.run_id)


def _ensure_registered(store: MlflowClient, meta: BundleMeta) -> None:
    from mlflow.exceptions import MlflowException

    tags = {"plmsae": "true", "plm": meta.plm, "layer": str(meta.layer), "unit": meta.unit}
    kind = "Sparse autoencoder"
    if meta.is_transcoder:
        tags |= {"target": meta.target, "target_layer": str(meta.target_layer)}
        kind = f"Transcoder to layer {meta.target_layer}"
    about = f"{kind} on {meta.plm}, after block {meta.layer}, per {meta.unit}."
    try:
        store.create_registered_model(meta.name, tags=tags, description=about)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _log_model(store: MlflowClient, bundle: Bundle, run_id: str | None) -> str:
    """Upload the bundle as a logged model; return its id. Not READY until it is whole."""
    from mlflow.entities import LoggedModelOutput

    meta = bundle.meta
    experiment = store.get_run(run_id).info.experiment_id if run_id else experiment_id(store)
    logged = store.create_logged_model(
        experiment,
        name=bundle.name.replace(".", "-"),  # MLflow allows no dot here.
        source_run_id=run_id,
        tags={"plm": meta.plm, "layer": str(meta.layer), "unit": meta.unit},
        params={"arch": meta.arch, "d_sae": str(meta.d_sae), "k": str(meta.k)},
        model_type="sparse-autoencoder",
    )
    model_id = str(logged.model_id)
    try:
        with tempfile.TemporaryDirectory(prefix="plmsae-") as folder:
            path = Path(folder) / "model"
            save_model_folder(path, bundle, model_id=model_id, run_id=run_id)
            store.log_model_artifacts(model_id, str(path))
        store.finalize_logged_model(model_id, "READY")
        if run_id:
            store.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
            # By the names that the run has them under, or each would stand there twice.
            for name, value in sorted(charted(meta.metrics).items()):
                store.log_metric(run_id, name, value, model_id=model_id)
    except BaseException:
        # What went wrong first is the error to show: the server may be away.
        with not_waiting(), few_retries(), suppress(Exception):
            store.finalize_logged_model(model_id, "FAILED")
        raise
    return model_id


def _create_version(store: MlflowClient, *, name: str, source: str, **what: Any) -> Any:
    """Create a version once: a request whose answer was lost may have been carried out.

    So MLflow does not send it again by itself. The search before each new attempt also waits for a
    server that is away.
    """
    from mlflow.exceptions import MlflowException

    for _ in range(_ATTEMPTS - 1):
        try:
            with few_retries(0), not_waiting():
                return store.create_model_version(name=name, source=source, **what)
        except MlflowException as error:
            if not is_unanswered(error):
                raise
            _LOG.warning("MLflow's server did not say whether it registered %s; looking", name)
        made = store.search_model_versions(f"name = '{name}'", order_by=["version_number DESC"])
        for version in made:
            if version.source == source:
                return version
    return store.create_model_version(name=name, source=source, **what)


def version_tags(bundle: Bundle) -> dict[str, str]:
    """Return the tags that a bundle gets when it is registered: what it is, and its numbers."""
    meta = bundle.meta
    identity: tuple[str, ...]
    identity = ("plm", "plm_revision", "layer", "unit", "arch", "d_in", "d_sae", "k", "origin")
    if meta.is_transcoder:
        identity += ("target", "target_layer")
    tags = {name: str(getattr(meta, name)) for name in identity if getattr(meta, name) is not None}
    for name in (*HEADLINE_METRICS, "n_concepts_callable"):
        if name in meta.metrics:
            tags[name] = f"{meta.metrics[name]:.6g}"
    tags[DIGEST_TAG] = bundle.digest
    if QUALITY_WARNINGS in meta.extra:
        tags[QUALITY_WARNINGS] = str(meta.extra[QUALITY_WARNINGS])
    # All metrics in one tag: comparing versions then needs no download.
    packed = json.dumps(dict(meta.metrics), sort_keys=True)
    if len(packed) <= MAX_TAG:
        tags[METRICS_TAG] = packed
    return tags


def resolve(ref: str | Path, *, tracking_uri: str | None = None) -> Bundle:
    """Return the bundle a reference points at, downloaded if need be and checked.

    Parameters
    ----------
    ref : str or Path
        ``NAME@alias``, ``NAME/3``, ``NAME`` (its champion), ``models:/`` and any of these,
        ``models:/m-…``, or a folder: a bundle, or an MLflow model that holds one. What is both a
        folder and a name is taken as the folder. ``ready`` is the model that comes with plmsae.
    tracking_uri : str, optional
        See `store.tracking_uri`; not used for a folder.

    Returns
    -------
    Bundle
        In the cache (``PLMSAE_CACHE``, or ``~/.cache/plmsae``) by the model's id.

    Raises
    ------
    InputError
        If there is no such model; the message names the nearest ones.
    UnsafeArtifactError
        If it carries code, pickles, another loader, or a file that was changed.
    """
    return resolve_exactly(ref, tracking_uri=tracking_uri)[0]


def resolve_exactly(ref: str | Path, *, tracking_uri: str | None = None) -> tuple[Bundle, str]:
    """Do what `resolve` does; return also a name that stays true when aliases move.

    Returns
    -------
    bundle : Bundle
    uri : str
        ``models:/NAME/VERSION``, ``models:/m-…``, or for a folder ``NAME@sha256:…`` with the start
        of the bundle's digest.
    """
    folder = ready_model() if str(ref) == READY else Path(ref)
    if not str(ref).startswith("models:") and folder.is_dir():
        bundle = read_model_folder(folder)
        return bundle, f"{bundle.name}@sha256:{bundle.digest[:12]}"
    store = client(tracking_uri)
    version = find_version(store, parse_reference(str(ref)))
    bundle = fetch_model(store, version.model_id, expected_digest=version.digest)
    return bundle, version.ref.uri if version.ref else f"models:/{version.model_id}"


def recorded_tags(uri: str, *, tracking_uri: str | None = None) -> Mapping[str, str] | None:
    """Return the tags of a registered version, by its `resolve_exactly` name; None for others."""
    found = find_registered(client(tracking_uri), uri)
    return None if found is None or found.ref is None else found.tags


def log_version_metrics(
    uri: str,
    metrics: Mapping[str, float | None],
    *,
    run_id: str,
    tags: Mapping[str, str] | None = None,
    tracking_uri: str | None = None,
) -> None:
    """Attach metrics measured by a run to a registered version: to its model, and as its tags.

    Parameters
    ----------
    uri : str
        As `resolve_exactly` gives it. For what is in no registry nothing is done.
    metrics : mapping
        By name. For None, what an earlier run tagged the version with is removed: numbers that were
        measured together stand together.
    run_id : str
        The run that measured them.
    tags : mapping, optional
        What else the version should say, such as what they were measured on.
    tracking_uri : str, optional
        See `store.tracking_uri`.
    """
    store = client(tracking_uri)
    found = find_registered(store, uri)
    if found is None:
        return
    with mlflow_errors(store.tracking_uri):
        measured = {name: value for name, value in sorted(metrics.items()) if value is not None}
        for name, value in measured.items():
            store.log_metric(run_id, name, value, model_id=found.model_id)
        if (ref := found.ref) is not None:
            numbers = {name: f"{value:.6g}" for name, value in measured.items()}
            for name, text in {**numbers, **(tags or {})}.items():
                store.set_model_version_tag(ref.name, ref.version, name, text[:MAX_TAG])
            for name in sorted(found.tags.keys() & metrics.keys() - measured.keys()):
                store.delete_model_version_tag(ref.name, ref.version, name)


def list_models(*, tracking_uri: str | None = None) -> pl.DataFrame:
    """Return all registered versions, newest first within a name.

    Parameters
    ----------
    tracking_uri : str, optional
        See `store.tracking_uri`.

    Returns
    -------
    DataFrame
        ``name``, ``version`` (str), ``aliases`` (list of str), ``plm``, ``layer``, ``unit``,
        ``arch``, ``d_sae``, ``k``, one column for each of `HEADLINE_METRICS` (null if it was not
        measured; ``dead_share`` is then that of training), ``created`` (UTC), ``model_id``,
        ``run_id``. Empty if nothing is registered.
    """
    import polars as pl

    schema: dict[str, Any] = {
        **{"name": pl.String, "version": pl.String, "aliases": pl.List(pl.String)},
        **{"plm": pl.String, "layer": pl.Int32, "unit": pl.String, "arch": pl.String},
        **{"d_sae": pl.Int64, "k": pl.Int64},
        **dict.fromkeys(HEADLINE_METRICS, pl.Float64),
        **{"created": pl.Datetime("ms", "UTC"), "model_id": pl.String, "run_id": pl.String},
    }
    store = client(tracking_uri)
    with mlflow_errors(store.tracking_uri):
        versions = search_versions(store)
    rows = [_row(version) for version in versions]
    # Text columns first: a tag edited by hand into nonsense becomes null, not an error.
    as_read = {
        name: pl.String if kind in (pl.Int32, pl.Int64, pl.Float64) else kind
        for name, kind in schema.items()
    }
    as_read["created"] = pl.Int64
    frame = pl.DataFrame(rows, schema=as_read, orient="row").with_columns(
        pl.col(name).cast(kind, strict=False) for name, kind in schema.items() if name != "created"
    )
    frame = frame.with_columns(pl.from_epoch("created", "ms").dt.replace_time_zone("UTC"))
    order = pl.col("version").cast(pl.Int64, strict=False)
    return frame.sort("name", order, descending=[False, True])


def _row(version: Any) -> dict[str, Any]:
    ref = ref_of(version)
    tagged = ("plm", "layer", "unit", "arch", "d_sae", "k", *HEADLINE_METRICS)
    return {
        "name": ref.name,
        "version": ref.version,
        "aliases": version.aliases,
        **{name: version.tags.get(name) for name in tagged},
        "dead_share": version.tags.get("dead_share") or _train_dead_share(ref, version.tags),
        "created": version.creation_timestamp,
        "model_id": ref.model_id or None,
        "run_id": version.run_id or None,
    }


def _train_dead_share(ref: ModelRef, tags: Mapping[str, str]) -> str | None:
    found = _from_tags(ref, tags)
    share = None if found is None else found[1].get("train_dead_share")
    return None if share is None else str(share)


def compare(refs: Sequence[str | Path], *, tracking_uri: str | None = None) -> pl.DataFrame:
    """Put models side by side.

    Parameters
    ----------
    refs : sequence of str or Path
        As `resolve` takes them. Registered versions are not downloaded if their tags tell all.
    tracking_uri : str, optional
        See `store.tracking_uri`.

    Returns
    -------
    DataFrame
        One row per model in the order given: ``model``, ``plm``, ``layer``, ``unit``, ``arch``,
        ``d_sae``, ``k``, then every metric any of them has (null where one has it not).
    """
    import polars as pl

    rows = [_compared(ref, tracking_uri) for ref in refs]
    names = sorted({name for _, metrics in rows for name in metrics})
    headline = [name for name in HEADLINE_METRICS if name in names]
    names = headline + [name for name in names if name not in headline]
    schema: dict[str, Any] = {
        **{"model": pl.String, "plm": pl.String, "layer": pl.Int32, "unit": pl.String},
        **{"arch": pl.String, "d_sae": pl.Int64, "k": pl.Int64},
        **dict.fromkeys(names, pl.Float64),
    }
    table = [
        {**identity, **{name: metrics.get(name) for name in names}} for identity, metrics in rows
    ]
    return pl.DataFrame(table, schema=schema, orient="row")


def _compared(ref: str | Path, uri: str | None) -> tuple[dict[str, Any], dict[str, float]]:
    if str(ref) != READY and (str(ref).startswith("models:") or not Path(ref).is_dir()):
        found = find_version(client(uri), parse_reference(str(ref)))
        if found.ref is not None and METRICS_TAG in found.tags:
            fast = _from_tags(found.ref, found.tags)
            if fast is not None:
                return fast
    meta = resolve(ref, tracking_uri=uri).meta
    fields = ("plm", "layer", "unit", "arch", "d_sae", "k")
    identity = {"model": str(ref), **{name: getattr(meta, name) for name in fields}}
    return identity, dict(meta.metrics)


def _from_tags(
    ref: ModelRef, tags: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, float]] | None:
    """Read identity and metrics from a version's tags; None if someone broke them."""
    try:
        metrics = {str(k): float(v) for k, v in json.loads(tags[METRICS_TAG]).items()}
        identity: dict[str, Any] = {name: tags[name] for name in ("plm", "unit", "arch")}
        identity |= {"layer": int(tags["layer"]), "d_sae": int(tags["d_sae"])}
        identity["k"] = int(tags["k"]) if "k" in tags else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return {"model": str(ref), **identity}, metrics
