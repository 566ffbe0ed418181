"""Finding a registered version, and saying what there is when it is not there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from plmsae.bundle.naming import PREFIX, Reference, parse_reference
from plmsae.core.errors import InputError, NotFoundError
from plmsae.tracking.store import mlflow_errors, redact

if TYPE_CHECKING:
    from mlflow import MlflowClient

HEADLINE_METRICS = (
    "n_features_f1_50",
    "n_concepts_f1_50",
    "explained_variance",
    "loss_recovered",
    "dead_share",
)
"""Metrics that get a tag of their own, so that MLflow's search finds them."""

MAX_TAG = 4900
"""Characters of a tag: older servers keep 5,000."""

DIGEST_TAG = "bundle_sha256"
"""The version's tag that holds the SHA-256 of its ``model.json``."""


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """One registered version."""

    name: str
    """Registered name (see `plmsae.bundle.naming`)."""
    version: str
    """Digits, as text (MLflow gives an int or a str, depending on the store)."""
    model_id: str
    """MLflow's id of the logged model, ``m-…``; empty for a version made by other means."""

    @property
    def uri(self) -> str:
        """``models:/NAME/VERSION``."""
        return f"models:/{self.name}/{self.version}"

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, kw_only=True)
class FoundVersion:
    """A version as the registry knows it, before anything of it is downloaded."""

    ref: ModelRef | None
    """None for a logged model that was asked for by its id."""
    model_id: str
    """MLflow's id of the logged model."""
    digest: str | None
    """The SHA-256 of ``model.json`` that was recorded when it was registered."""
    tags: Mapping[str, str]
    run_id: str | None = None
    """The run that made it, if it is known."""


def find_version(store: MlflowClient, wanted: Reference) -> FoundVersion:
    """Look a reference up in the registry.

    Raises
    ------
    InputError
        If the name, the alias or the version is not there.
    """
    from mlflow.exceptions import MlflowException

    if wanted.model_id is not None:
        return FoundVersion(ref=None, model_id=wanted.model_id, digest=None, tags={})
    try:
        if wanted.alias is not None:
            found = store.get_model_version_by_alias(wanted.name, wanted.alias)
        else:
            found = store.get_model_version(wanted.name, str(wanted.version))
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            with mlflow_errors(store.tracking_uri):
                raise
        raise _not_found(store, wanted) from error
    ref = ref_of(found)
    if not ref.model_id:
        raise InputError(
            "this version was not registered by plmsae",
            where=redact(store.tracking_uri),
            value=str(ref),
        )
    tags = dict(found.tags)
    return FoundVersion(
        ref=ref,
        model_id=ref.model_id,
        digest=tags.get(DIGEST_TAG),
        tags=tags,
        run_id=found.run_id or None,
    )


def find_registered(store: MlflowClient, uri: str) -> FoundVersion | None:
    """Look up what a run used, as `plmsae.registry.models.resolve_exactly` names it.

    None for what is in no registry: a folder, or the model that ships.
    """
    return find_version(store, parse_reference(uri)) if uri.startswith("models:/") else None


def ref_of(version: Any) -> ModelRef:
    """Make a `ModelRef` of MLflow's model version."""
    source = str(version.source or "")
    wanted = source.removeprefix("models:/") if source.startswith("models:/m-") else ""
    return ModelRef(name=version.name, version=str(version.version), model_id=wanted)


def _not_found(store: MlflowClient, wanted: Reference) -> InputError:
    with mlflow_errors(store.tracking_uri):
        versions = [v for v in search_versions(store) if v.name == wanted.name]
        names = sorted({v.name for v in search_versions(store)})
    where = redact(store.tracking_uri)
    if not versions:
        near = difflib.get_close_matches(wanted.name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        hint += "`plmsae models` lists what is registered"
        return NotFoundError("no such model", where=where, value=wanted.name, hint=hint)
    numbers = ", ".join(sorted((str(v.version) for v in versions), key=int))
    aliases = sorted({alias for v in versions for alias in v.aliases})
    have = f"there are versions {numbers}"
    have += f" and aliases {', '.join('@' + alias for alias in aliases)}" if aliases else ""
    asked = f"@{wanted.alias}" if wanted.alias else f"/{wanted.version}"
    what = f"{wanted.name} has no {'alias' if wanted.alias else 'version'} {asked}"
    if wanted.alias == "champion":
        have += f"; `plmsae promote {wanted.name}/{numbers.split(', ')[-1]}` makes one the champion"
    return InputError(what, where=where, hint=have)


def search_versions(store: MlflowClient) -> list[Any]:
    """Return all versions of plmsae's models, with their aliases."""
    found: list[Any] = []
    token = None
    while True:
        page = store.search_model_versions(
            f"name LIKE '{PREFIX}.%'", max_results=1000, page_token=token
        )
        found += page
        token = page.token
        if not token:
            break
    aliases: dict[tuple[str, str], list[str]] = {}
    for name in {v.name for v in found}:
        for alias, version in store.get_registered_model(name).aliases.items():
            aliases.setdefault((name, str(version)), []).append(alias)
    for version in found:
        version.aliases = sorted(aliases.get((version.name, str(version.version)), []))
    return found
