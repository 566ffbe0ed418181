"""The MLflow model around a bundle: writing its folder, checking one, and the download cache.

An MLflow model is a folder with an ``MLmodel`` file that names a Python module to load it with.
A hostile one names another module, or brings code or pickles along; so the file is read here, as
plain YAML, and MLflow is never asked to load a model that was not checked.
"""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import yaml

from plmsae.bundle.naming import is_model_id
from plmsae.bundle.reading import MODEL_FILE, Bundle, read_bundle
from plmsae.core.errors import InputError, UnsafeArtifactError
from plmsae.core.resources import cache_folder
from plmsae.tracking.store import mlflow_errors, redact

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)

LOADER = "plmsae.scoring.pyfunc"
"""The only module that may load a model."""

DATA = "data/bundle"
_MLMODEL = "MLmodel"
_OWN_FILES = {
    *(_MLMODEL, "conda.yaml", "python_env.yaml", "requirements.txt", "registered_model_meta"),
    *("input_example.json", "serving_input_example.json", "constraints.txt"),
}
_MAX_OWN_FILE = 1 << 20
_REQUIREMENTS = ("mlflow", "torch", "transformers", "safetensors", "numpy", "scipy", "polars")


def save_model_folder(folder: Path, bundle: Bundle, *, model_id: str, run_id: str | None) -> None:
    """Write the MLflow model of a bundle to `folder`, which must not exist.

    MLflow's `log_model` would load the model and run the input example through the PLM; writing
    the folder and uploading it runs nothing.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    with tempfile.TemporaryDirectory(prefix="plmsae-") as temporary:
        # MLflow keeps the name of the data folder, and a user's folder name is nobody's business.
        data = Path(temporary) / "bundle"
        shutil.copytree(bundle.path, data)
        if read_bundle(data).digest != bundle.digest:
            raise UnsafeArtifactError("the bundle changed while it was copied", where=bundle.path)
        mlflow.pyfunc.save_model(
            path=str(folder),
            loader_module=LOADER,
            data_path=str(data),
            signature=_signature(bundle),
            input_example=_input_example(),
            pip_requirements=_requirements(),
            mlflow_model=Model(model_uuid=model_id, model_id=model_id, run_id=run_id),
        )
    _check_mlmodel(folder)


def _signature(bundle: Bundle) -> Any:
    """Return the signature: what `PyfuncModel.predict` returns, and its parameters.

    A model is loaded from a folder and does not know under which name; so the rows do not have the
    ``model_uri`` of those that scoring writes. No inputs are stated: MLflow would refuse a list of
    sequences for a table of named columns, and a table for a list, before the model sees either.
    `PyfuncModel` checks what it is given; the input example shows the table.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    outputs = Schema(
        [
            ColSpec(DataType.string, "accession"),
            ColSpec(DataType.integer, "start"),
            ColSpec(DataType.integer, "end"),
            ColSpec(DataType.string, "concept"),
            ColSpec(DataType.double, "score"),
            ColSpec(DataType.double, "precision", required=False),
            ColSpec(DataType.double, "precision_low", required=False),
            ColSpec(DataType.double, "probability", required=False),
            ColSpec(Array(DataType.long), "latents"),
            ColSpec(Array(DataType.string), "implied"),
        ]
    )
    default = float(bundle.meta.min_precision)
    params = ParamSchema(
        [
            ParamSpec("min_precision", DataType.double, default),
            ParamSpec("per_sequence", DataType.boolean, default=False),
        ]
    )
    return ModelSignature(outputs=outputs, params=params)


def _input_example() -> Any:
    import pandas as pd

    # Human ubiquitin.
    ubiquitin = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"
    return pd.DataFrame({"sequence": [ubiquitin], "accession": ["P0CG48"]})


def _requirements() -> list[str]:
    from plmsae import __version__

    # "2.13.0+cpu" names a build that another machine may not have.
    versions = {name: importlib.metadata.version(name).split("+")[0] for name in _REQUIREMENTS}
    return [f"plmsae=={__version__}", *(f"{name}=={found}" for name, found in versions.items())]


def read_model_folder(folder: Path) -> Bundle:
    """Read a bundle folder, or an MLflow model folder that holds a bundle, after checking it.

    Raises
    ------
    UnsafeArtifactError
        If it names another loader, or carries code, pickles, links or unknown files.
    InputError
        If it is neither.
    """
    folder = Path(folder)
    if (folder / MODEL_FILE).is_file() or not (folder / _MLMODEL).exists():
        return read_bundle(folder)
    _check_mlmodel(folder)
    return read_bundle(folder / DATA)


def _check_mlmodel(folder: Path) -> None:
    """Check what lies around the bundle: the MLmodel file and MLflow's own small files."""
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink():
            raise UnsafeArtifactError("links are not allowed in a model", where=entry)
        if entry.name == "data" and entry.is_dir():
            continue
        if entry.name == "code":
            raise UnsafeArtifactError("the model brings code along; it is not run", where=entry)
        if entry.name not in _OWN_FILES or not entry.is_file():
            raise UnsafeArtifactError("not a part of a plmsae model", where=entry)
        if entry.stat().st_size > _MAX_OWN_FILE:
            raise UnsafeArtifactError("too large for what it is", where=entry)
    if [entry.name for entry in (folder / "data").iterdir()] != ["bundle"]:
        raise UnsafeArtifactError("a plmsae model holds one bundle, nothing else", where=folder)
    check_mlmodel_text((folder / _MLMODEL).read_text("utf-8"), where=folder / _MLMODEL)


def check_mlmodel_text(text: str, *, where: str | Path) -> None:
    """Refuse an ``MLmodel`` file that would have anything but our loader open the model.

    Raises
    ------
    UnsafeArtifactError
        If the loader module is not `LOADER`, the data is not our folder, a code path is named,
        or there is another flavor.
    """
    try:
        spec = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UnsafeArtifactError("not readable as plain YAML", where=where) from error
    flavors = spec.get("flavors") if isinstance(spec, dict) else None
    if not isinstance(flavors, dict) or set(flavors) != {"python_function"}:
        found = ", ".join(map(str, flavors)) if isinstance(flavors, dict) else None
        raise UnsafeArtifactError(
            "the only flavor of a plmsae model is python_function", where=where, value=found
        )
    flavor = flavors["python_function"]
    if not isinstance(flavor, dict) or flavor.get("loader_module") != LOADER:
        raise UnsafeArtifactError(
            f"the model names another loader than {LOADER}; it is not run",
            where=where,
            value=str(flavor.get("loader_module") if isinstance(flavor, dict) else flavor),
        )
    if flavor.get("code") or flavor.get("python_model") or flavor.get("artifacts"):
        raise UnsafeArtifactError("the model brings code along; it is not run", where=where)
    if flavor.get("data") != DATA:
        raise UnsafeArtifactError(
            f"the model's data must lie in {DATA}", where=where, value=str(flavor.get("data"))
        )


def fetch_model(
    store: MlflowClient, model_id: str, *, expected_digest: str | None = None
) -> Bundle:
    """Return the bundle of a logged model, from the cache or downloaded into it.

    A logged model never changes, so its id is all the cache needs to know. The ``MLmodel`` file
    comes first and alone: of a model that is refused nothing else is downloaded.

    Parameters
    ----------
    store : MlflowClient
        From `store.client`.
    model_id : str
        ``m-…``.
    expected_digest : str, optional
        SHA-256 of ``model.json`` as the registry recorded it.

    Raises
    ------
    UnsafeArtifactError
        If the model is not safe, or not the one that was registered.
    InputError
        If there is no such model, or the download fails.
    """
    if not is_model_id(model_id):
        raise UnsafeArtifactError("not an id of a logged model", value=model_id)
    target = cache_folder() / "models" / model_id
    if target.is_dir():
        try:
            return _expect(read_model_folder(target), expected_digest)
        except InputError as error:
            # A damaged cache is no reason to fail: fetch it again, and check that.
            _LOG.warning("cached model is fetched again: %s", error)
            shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with mlflow_errors(store.tracking_uri, what=f"no logged model {model_id}"):
        location = str(store.get_logged_model(model_id).artifact_location).rstrip("/")
    _check_there(location)
    with tempfile.TemporaryDirectory(prefix=f".{model_id}.", dir=target.parent) as temporary:
        first = _download(store, f"{location}/{_MLMODEL}", Path(temporary) / "first")
        if first.stat().st_size > _MAX_OWN_FILE:
            raise UnsafeArtifactError("too large for what it is", where=first.name)
        check_mlmodel_text(first.read_text("utf-8"), where=f"models:/{model_id}/{_MLMODEL}")
        whole = _download(store, location, Path(temporary) / "whole")
        _expect(read_model_folder(whole), expected_digest)
        try:
            whole.rename(target)
        except OSError:
            # Another process was faster; what it put there is checked below like any other.
            if not target.is_dir():
                raise
    return _expect(read_model_folder(target), expected_digest)


def _check_there(location: str) -> None:
    """Say in one line that a local folder of artifacts is gone; MLflow says it in many."""
    parts = urlsplit(location)
    if parts.scheme not in ("", "file"):  # a server's, such as mlflow-artifacts:/1/models
        return
    path = Path(url2pathname(parts.path) if parts.scheme else location)
    if not path.is_dir():
        raise InputError(
            "the model's files are not where they were registered",
            where=path,
            hint="was mlruns moved or deleted? Move it back, or register the model again",
        )


def _download(store: MlflowClient, uri: str, into: Path) -> Path:
    import mlflow.artifacts

    into.mkdir()
    with mlflow_errors(store.tracking_uri, what=f"cannot fetch {redact(uri)}"):
        path = mlflow.artifacts.download_artifacts(
            artifact_uri=uri,
            dst_path=str(into),
            tracking_uri=store.tracking_uri,
            registry_uri=store.tracking_uri,
        )
    return Path(path)


def _expect(bundle: Bundle, digest: str | None) -> Bundle:
    if digest is not None and bundle.digest != digest:
        raise UnsafeArtifactError(
            "model.json is not the one that was registered (SHA-256 differs)", where=bundle.path
        )
    return bundle
