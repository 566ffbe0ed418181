"""Runs: one MLflow run for each thing plmsae does, with its settings, metrics and end state.

Works alike from the CLI, from Python, and as the child of ``mlflow run`` (which names the run in
``MLFLOW_RUN_ID`` and has already logged the entry point's parameters).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.core.errors import (
    InputError,
    ResourceError,
    TrainingDivergedError,
    UnavailableError,
    printable,
)
from plmsae.core.stopping import Terminated, sigterm_unwinds
from plmsae.tracking.environment import system_facts
from plmsae.tracking.metric_buffer import MetricBuffer
from plmsae.tracking.outage import (
    WAIT,
    Point,
    ServerAwayError,
    Unsent,
    not_waiting,
    send_kept,
    send_points,
    wait_s,
    waiting,
)
from plmsae.tracking.params import clean_name, flatten_params
from plmsae.tracking.store import (
    client,
    experiment_id,
    few_retries,
    import_mlflow,
    mlflow_errors,
    redact,
    tracking_uri,
)
from plmsae.tracking.system_metrics import sampled

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)

MAX_PARAM = 500
"""Characters of a parameter's value that are kept (the limit of older MLflow servers)."""
MAX_ROWS = 1000
"""Rows of a table that MLflow's page is given."""


_MADE_UP = re.compile(r"[a-z]+-[a-z]+-[0-9]+")
"""Names that MLflow makes up for runs, such as ``casual-grub-506``."""


class Run:
    """A run that is going on; made by `start_run`."""

    def __init__(
        self,
        store: MlflowClient,
        run_id: str,
        experiment: str,
        uri: str,
        folder: Path | None = None,
    ) -> None:
        self.run_id = run_id
        """MLflow's id of the run."""
        self.experiment_id = experiment
        """MLflow's id of its experiment."""
        self.tracking_uri = uri
        """The store, absolute."""
        self.has_results = False
        """Whether a metric or an artifact was logged."""
        self._store = store
        self._unsent = Unsent(folder, run_id, redact(uri))
        self._metrics: MetricBuffer | None = None

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log measurements of a step; returns at once, a thread writes them (`MetricBuffer`)."""
        self.has_results = True
        self.log_machine(step, metrics)

    def log_machine(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log how busy the machine is, which is no result."""
        if self._metrics is None:
            self._metrics = MetricBuffer(self._write, self._unsent)
        named = {clean_name(name): value for name, value in metrics.items()}
        self._metrics.add(named, step=step)

    def _write(self, points: Sequence[Point]) -> None:
        send_points(self._store, self.run_id, points)

    def flush(self) -> None:
        """Write the measurements that still wait, if the server is there."""
        if self._metrics is not None:
            with not_waiting():
                self._metrics.flush()

    def log_params(self, config: Any, *, prefix: str = "") -> None:
        """Log settings: a dataclass, a mapping, or a value (see `flatten_params`).

        A value over `MAX_PARAM` characters is cut and ends in ``...``; the whole is then in the
        artifact ``params/<prefix>.json``. MLflow never changes a parameter: one that is there
        with the same value is left, and one with another value is logged as ``effective.<name>``
        (``mlflow run`` logs ``lr=auto``; the rate that was found is ``effective.lr``).
        """
        full = flatten_params(config, prefix=prefix)
        if not full:
            return
        with mlflow_errors(self.tracking_uri):
            if any(len(value) > MAX_PARAM for value in full.values()):
                name = clean_name(prefix or "params").replace("/", "_")
                self._store.log_dict(self.run_id, full, f"params/{name}.json")
            known: dict[str, str] = self._store.get_run(self.run_id).data.params
            new: dict[str, str] = {}
            for name, value in full.items():
                _settle(name, _cut(value), known, new)
            self._log_param_batches(new)

    def _log_param_batches(self, params: dict[str, str]) -> None:
        from mlflow.entities import Param

        entries = [Param(name, value) for name, value in params.items()]
        for start in range(0, len(entries), 100):  # MLflow's limit for one request
            self._store.log_batch(self.run_id, params=entries[start : start + 100])

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags; a value over 5,000 characters is cut."""
        from mlflow.entities import RunTag

        with mlflow_errors(self.tracking_uri):
            entries = [RunTag(name, printable(str(value))[:5000]) for name, value in tags.items()]
            self._store.log_batch(self.run_id, tags=entries)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or a folder with all it holds, under `folder` of the run's artifacts."""
        self.has_results = True
        with mlflow_errors(self.tracking_uri):
            if Path(path).is_dir():
                self._store.log_artifacts(self.run_id, str(path), folder)
            else:
                self._store.log_artifact(self.run_id, str(path), folder)

    def log_table(self, path: Path, folder: str) -> None:
        """Store a Parquet file under `folder`, and beside it its first rows as MLflow shows tables.

        MLflow's page shows no Parquet; ``<name>.json`` has `MAX_ROWS` rows in its own format.
        """
        import pandas as pd
        import polars as pl

        self.log_artifact(path, folder)
        rows = pl.read_parquet(path, n_rows=MAX_ROWS, glob=False).to_dict(as_series=False)
        with mlflow_errors(self.tracking_uri):
            name = f"{folder}/{Path(path).stem}.json"
            self._store.log_table(self.run_id, pd.DataFrame(rows), name)

    def log_text(self, text: str, name: str) -> None:
        """Store `text` as the artifact `name`."""
        self.has_results = True
        with mlflow_errors(self.tracking_uri):
            self._store.log_text(self.run_id, printable(text), name)

    def close(self, status: str, error: str = "") -> str:
        """Write what waits, end the run, and stop the writing thread. `start_run` does it.

        Parameters
        ----------
        status : str
            ``FINISHED``, ``FAILED`` or ``KILLED``.
        error : str, optional
            Why it failed, for the tag ``plmsae.error``.

        Returns
        -------
        str
            What MLflow could not be given, and where it is kept; empty if it has all.
        """
        if self._metrics is not None:
            # A run that was stopped does not wait: what it measured is in the file.
            self._metrics.close(busy_s=60 + wait_s() if status == "FINISHED" else 5)
            self._metrics = None
        n = self._unsent.n_points
        waits = [f"{n:,} measurements"] if n else []
        tags = {"plmsae.error": error} if error else {}
        try:
            if tags:
                self.set_tags(tags)
            with mlflow_errors(self.tracking_uri):
                self._store.set_terminated(self.run_id, status)
        except Exception as problem:  # noqa: BLE001 (what went wrong first is the error to show)
            _LOG.debug("the run could not be ended", exc_info=problem)
            self._unsent.add_end(status, tags)
            waits.append("the end")
        self._unsent.close()
        if not waits:
            return ""
        what = f"{' and '.join(waits)} of run {self.run_id}"
        return f"lost: {what}" if self._unsent.in_memory else f"kept in {self._unsent.path}: {what}"


def _cut(value: str) -> str:
    return value if len(value) <= MAX_PARAM else value[: MAX_PARAM - 3] + "..."


def _settle(name: str, value: str, known: Mapping[str, str], new: dict[str, str]) -> None:
    """Put a parameter into `new`, under a name that MLflow will accept; or leave it."""
    for candidate in (name, f"effective.{name}"[:250]):
        if candidate not in known:
            new[candidate] = value
            return
        if known[candidate] == value:
            return
    _LOG.warning("parameter %s is already logged with two other values; left as it is", name)


@contextmanager
def start_run(
    experiment: str | None = None,
    run_name: str | None = None,
    params: Any = None,
    tags: Mapping[str, object] | None = None,
    tracking_uri: str | None = None,
    system_metrics: bool = False,
    folder: Path | None = None,
) -> Iterator[Run]:
    """Open an MLflow run for the length of a ``with`` block.

    Inside ``mlflow run`` the project's own run is resumed; inside another `start_run` the new one
    is its child. The run ends FINISHED, FAILED (any exception, or an exit code but 0; the one-line
    message is in the tag ``plmsae.error``), or KILLED (Ctrl-C, SIGTERM). One that the user's input
    ended before anything was logged is deleted: a typo is no failed run.

    Parameters
    ----------
    experiment : str, optional
        See `store.experiment_id`; of no effect inside ``mlflow run`` or another run.
    run_name : str, optional
        Shown in the UI; MLflow makes one up otherwise. Inside ``mlflow run`` it takes the place of
        a name that MLflow made up.
    params : dataclass, mapping, optional
        Logged at once with `Run.log_params`.
    tags : mapping, optional
        Set beside the facts of the machine.
    tracking_uri : str, optional
        See `store.tracking_uri`.
    system_metrics : bool, optional
        Log how busy the machine is, now and then (`plmsae.tracking.system_metrics`): for runs that
        may take long.
    folder : Path, optional
        The output folder. What MLflow's server, being away, cannot be given is kept there (without
        a folder in plmsae's cache), and sent by the next run in that folder.

    Yields
    ------
    Run
        To log to.

    Raises
    ------
    InputError
        If MLflow cannot be reached or refuses.
    ServerAwayError
        If the server went away and did not come back in time (`plmsae.tracking.outage`).
    """
    mlflow = import_mlflow()
    run_name = None if run_name is None else printable(run_name)
    uri = _resolve_uri(tracking_uri)
    store = client(uri)
    # Before it is opened: MLflow then takes the variable away.
    resumed = mlflow.active_run() is None and bool(os.environ.get("MLFLOW_RUN_ID"))
    with _global_uri(mlflow, uri), sigterm_unwinds():
        send_kept(folder, store, redact(uri))
        with mlflow_errors(uri):
            active = _open(mlflow, store, experiment, run_name)
        run = Run(store, active.info.run_id, active.info.experiment_id, uri, folder)
        failed: BaseException | None = None
        with waiting():
            try:
                run.set_tags({**system_facts(), **(tags or {})})
                if params is not None:
                    run.log_params(params)
                with sampled(run.log_machine) if system_metrics else nullcontext():
                    yield run
            except BaseException as error:
                failed = error
                raise
            finally:
                _end(mlflow, run, failed)
                if not (resumed or run.has_results) and _is_refusal(failed):
                    _delete(run)


def _is_refusal(error: BaseException | None) -> bool:
    """Return whether the user's input was refused; what ended only after work is none."""
    return isinstance(error, InputError) and not isinstance(
        error, ResourceError | TrainingDivergedError | UnavailableError
    )


def _delete(run: Run) -> None:
    try:
        with mlflow_errors(run.tracking_uri):
            run._store.delete_run(run.run_id)
    except InputError:  # the refusal is the error to show
        _LOG.debug("run %s could not be deleted", run.run_id, exc_info=True)


def _end(mlflow: Any, run: Run, failed: BaseException | None) -> None:
    """End the run, and any run that was left open inside it; say what MLflow was not given."""
    status = "FINISHED" if failed is None else _status_of(failed)
    if status == "FINISHED":
        kept = run.close(status)
    else:
        with not_waiting(), few_retries():
            kept = run.close(status, f"{type(failed).__name__}: {failed}".replace("\n", " ")[:1000])
    with few_retries():
        while (active := mlflow.active_run()) is not None:
            inner = active.info.run_id != run.run_id
            try:
                mlflow.end_run(status)
            except Exception:  # noqa: BLE001 (of `run` itself `kept` says it)
                level = logging.WARNING if inner else logging.DEBUG
                _LOG.log(level, "run %s could not be marked %s", active.info.run_id, status)
            if not inner:
                break
    if not kept:
        return
    if failed is None or isinstance(failed, ServerAwayError):
        raise ServerAwayError(
            f"MLflow could not be given everything; it was tried for {wait_s():g} s ({WAIT})",
            where=redact(run.tracking_uri),
            hint=f"{kept}; when the server is back, the same command goes on and sends them",
        ) from failed
    _LOG.warning("MLflow could not be given everything: %s; the next run there sends them", kept)


def _resolve_uri(given: str | None) -> str:
    # `start_run` has a parameter of the same name as the function.
    return tracking_uri(given)


def _open(mlflow: Any, store: MlflowClient, experiment: str | None, run_name: str | None) -> Any:
    if (outer := mlflow.active_run()) is not None:
        within = outer.info.experiment_id
        return mlflow.start_run(experiment_id=within, run_name=run_name, nested=True)
    if os.environ.get("MLFLOW_RUN_ID"):
        resumed = mlflow.start_run(run_name=None)
        # A name that the user gave stays (`mlflow run --run-name`); one that MLflow made up goes.
        if run_name is not None and _MADE_UP.fullmatch(str(resumed.info.run_name or "")):
            store.update_run(resumed.info.run_id, name=run_name)
        return resumed
    if experiment is None and os.environ.get("MLFLOW_EXPERIMENT_ID"):
        chosen = os.environ["MLFLOW_EXPERIMENT_ID"]
    else:
        chosen = experiment_id(store, experiment)
    return mlflow.start_run(experiment_id=chosen, run_name=run_name)


@contextmanager
def _global_uri(mlflow: Any, uri: str) -> Iterator[None]:
    """Point MLflow's global state at `uri` for a while: autologging and children look there."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        if mlflow.active_run() is None:
            # Not `before`: MLflow would hold on to it whatever the environment says later.
            mlflow.set_tracking_uri(None)
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def _status_of(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt | Terminated | GeneratorExit):
        return "KILLED"
    if isinstance(error, SystemExit):
        return "FINISHED" if error.code in (None, 0) else "FAILED"
    return "FAILED"
