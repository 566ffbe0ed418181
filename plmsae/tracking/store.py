"""Where MLflow keeps things: finding the store, creating it safely, and its errors in one line.

This is the one place that imports MLflow, so that telemetry is off before it loads.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.core.errors import InputError
from plmsae.core.programs import program
from plmsae.tracking.outage import patient

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)

DEFAULT_DATABASE = "mlflow.db"
DEFAULT_EXPERIMENT = "plmsae"
_SQLITE = "sqlite:///"
_NOISY = (
    *("alembic", "mlflow.store.db.utils", "mlflow.tracking.fluent", "mlflow.pyfunc"),
    "mlflow.store.model_registry.abstract_store",
)
_ready: set[str] = set()
# What a message of MLflow's holds → what to do about it.
_ADVICE = (
    ("out-of-date database schema", "back the database up, then run: mlflow db upgrade URI"),
    ("readonly database", "make the file and its folder writable, or give another --tracking-uri"),
    ("unable to open database file", "is the path right, and the folder there?"),
    (
        "not authenticated",
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of the server",
    ),
    ("Permission denied", "ask who runs the server for the right to do this"),
    ("connection to server", "is the database server up, and --tracking-uri right?"),
    ("database is locked", "another program is writing it: wait, or stop that one"),
)
# Module that a driver is imported as → package that brings it.
_PACKAGES = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "azure": "azure-storage-blob",
    "google": "google-cloud-storage",
}


def import_mlflow() -> Any:
    """Import MLflow (3 seconds, once) with telemetry off and its chatter down; return it."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Else a uv.lock in the working folder would be copied into every model.
    os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
    # A bar for every small file; the CLI has its own progress bars.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Two lines on standard output after every run, where a command's own output goes.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    import mlflow

    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return mlflow


def tracking_uri(given: str | None = None) -> str:
    """Return where runs and models are kept, as an absolute URI.

    Parameters
    ----------
    given : str, optional
        What the user asked for. Without it ``MLFLOW_TRACKING_URI`` counts, and without that an
        SQLite file ``mlflow.db`` in the working folder.
    """
    # A line end or a blank comes along from a file or a shell; as a name it makes another database.
    asked = (given or "").strip() or os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    uri = asked or f"{_SQLITE}{DEFAULT_DATABASE}"
    path = sqlite_path(uri)
    return uri if path is None else f"{_SQLITE}{path}"


def sqlite_path(uri: str) -> Path | None:
    """Return the absolute path of an SQLite store's file; None for any other store."""
    if not uri.startswith(_SQLITE):
        return None
    body = uri[len(_SQLITE) :].split("?")[0]
    return None if body in ("", ":memory:") else Path(body).absolute()


def redact(uri: str) -> str:
    """Return `uri` without the user name and password it may carry, for logs and messages."""
    return re.sub(r"//[^/@\s]+@", "//***@", uri)


def client(uri: str | None = None) -> MlflowClient:
    """Return a client of the store, creating an SQLite store if there is none yet.

    Inside a run its calls wait for a server that is away (`plmsae.tracking.outage`).

    Raises
    ------
    InputError
        If the store cannot be reached or opened.
    """
    mlflow = import_mlflow()
    resolved = tracking_uri(uri)
    _check_writable(sqlite_path(resolved))
    with mlflow_errors(resolved):
        if resolved in _ready:
            return patient(mlflow.MlflowClient(resolved, resolved), redact(resolved))
        with few_retries(), _creation_lock(sqlite_path(resolved)):
            _check_database(resolved)
            made: MlflowClient = mlflow.MlflowClient(resolved, resolved)
            # One call to each of the two stores: both create their tables at first use.
            made.search_experiments(max_results=1)
            made.search_registered_models(max_results=1)
    _ready.add(resolved)
    return patient(made, redact(resolved))


def _check_writable(path: Path | None) -> None:
    """Refuse at once to create an SQLite file where nothing can be: MLflow tries for minutes."""
    if path is None or path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(
            f"MLflow's database cannot be made here ({error.strerror})",
            where=path,
            hint="work in a folder that can be written, or give --tracking-uri sqlite:////FOLDER/"
            "mlflow.db (or MLFLOW_TRACKING_URI)",
        ) from error


def _check_database(uri: str) -> None:
    """Connect to a database once: MLflow tries 15 times, for minutes, and prints each failure."""
    from mlflow.store.db.db_types import DATABASE_ENGINES

    if re.split(r"[:+]", uri)[0] not in DATABASE_ENGINES:
        return
    import sqlalchemy
    from mlflow.store.db.utils import create_sqlalchemy_engine

    engine = create_sqlalchemy_engine(uri)  # type: ignore[no-untyped-call]  # MLflow has no types
    try:
        sqlalchemy.inspect(engine)
    finally:
        engine.dispose()


@contextmanager
def few_retries(n: int | None = None) -> Iterator[None]:
    """Fail soon, at the first contact for example: MLflow tries for minutes otherwise.

    Parameters
    ----------
    n : int, optional
        How often MLflow sends a request again; by default what the environment says, or twice.
    """
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    before = os.environ.get(name)
    os.environ[name] = str(n) if n is not None else before or "2"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


@contextmanager
def _creation_lock(path: Path | None) -> Iterator[None]:
    """Let one process at a time create the tables of an SQLite file; the others then find them.

    The folder itself is locked: no lock file stays behind. On systems without `fcntl` (Windows)
    there is no lock, and creating one store from several processes at once may fail.
    """
    try:
        import fcntl
    except ImportError:
        path = None
    if path is None:
        yield
        return
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # Closing releases the lock.


@contextmanager
def mlflow_errors(uri: str, *, what: str = "MLflow refused") -> Iterator[None]:
    """Turn MLflow's and the network's exceptions into one line that names the store."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    # The network's exceptions (requests) are OSErrors.
    except (MlflowException, SQLAlchemyError, OSError) as error:
        _LOG.debug("MLflow error", exc_info=True)
        line = _shortened(redact(str(error).strip().split("\n")[0]))
        hint = next((advice for sign, advice in _ADVICE if sign in line), None)
        if hint is None and "://" in uri and not uri.startswith(_SQLITE) and "API request" in line:
            hint = "is the server up, and MLFLOW_TRACKING_URI right?"
        raise InputError(f"{what}: {line}", where=redact(uri), hint=hint) from error
    # A database driver, or a client of a cloud's storage, that MLflow imports when it is needed.
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] == "plmsae":
            raise
        package = _PACKAGES.get(error.name, error.name)
        raise InputError(
            f"this store needs the Python package {error.name}, which is not installed",
            where=redact(uri),
            hint=f"pip install {package!r}" if "[" in package else f"pip install {package}",
        ) from error


def _shortened(line: str, limit: int = 300) -> str:
    """Return `line`, or as many whole words of it as `limit` characters hold."""
    if len(line) <= limit:
        return line
    words = line[:limit].rpartition(" ")[0] or line[:limit]
    return f"{words} …"


def experiment_id(store: MlflowClient, name: str | None = None) -> str:
    """Return the id of an experiment, creating it if need be.

    Parameters
    ----------
    store : MlflowClient
        From `client`.
    name : str, optional
        Without it ``MLFLOW_EXPERIMENT_NAME`` counts, and without that ``plmsae``.

    Notes
    -----
    Beside an SQLite file, artifacts go to ``mlruns/`` next to that file, wherever the command is
    run from; a server decides itself.
    """
    from mlflow.exceptions import MlflowException

    name = name or os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT
    found = store.get_experiment_by_name(name)
    if found is None:
        path = sqlite_path(store.tracking_uri)
        slug = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "experiment"
        location = None if path is None else str(path.parent / "mlruns" / slug)
        try:
            return str(store.create_experiment(name, artifact_location=location))
        except MlflowException:
            # Another process was faster, or the name belongs to a deleted experiment.
            found = store.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise InputError(
            f"experiment {name!r} was deleted",
            where=redact(store.tracking_uri),
            hint="restore it in MLflow or set MLFLOW_EXPERIMENT_NAME to another name",
        )
    return str(found.experiment_id)


def ui_command(uri: str | None = None) -> str:
    """Return the one line that opens the MLflow UI, ending in the page that lists the models.

    MLflow's start page hides the models, hence ``/#/models``.
    """
    resolved = tracking_uri(uri)
    if resolved.startswith(("http://", "https://")):
        return f"{redact(resolved).rstrip('/')}/#/models"
    import shlex

    quoted = shlex.quote(redact(resolved))
    # Job runners would take 2 GB of memory and nothing here uses them.
    return (
        "MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false "
        f"{program('mlflow')} ui --backend-store-uri {quoted}"
        "  # then open http://127.0.0.1:5000/#/models"
    )
