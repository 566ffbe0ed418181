"""The run of an evaluation, whatever the unit of its model."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from plmsae.bundle.meta import EVAL_LABELS
from plmsae.bundle.metric_names import charted, of_training
from plmsae.bundle.reading import MODEL_FILE, Bundle
from plmsae.bundle.writing import write_bundle
from plmsae.core.atomic import write_parquet
from plmsae.core.folders import only_writer, start_over
from plmsae.core.sketch import SELECT_SKETCH
from plmsae.registry.lineage import log_used_version
from plmsae.registry.models import register
from plmsae.tracking.runs import Run, start_run
from plmsae.workflows.evaluating.activation_store import EncodedParts, encoded_parts
from plmsae.workflows.evaluating.annotated import Annotated
from plmsae.workflows.evaluating.calling import Calling
from plmsae.workflows.shared.requests import EvaluateRequest, request_params

if TYPE_CHECKING:
    import polars as pl


_OWN = re.compile(r"bundle|encoded|quality-(labels|proteins|models)")


@contextmanager
def _started_over(request: EvaluateRequest) -> Iterator[None]:
    """Remove first, if the request says so, what an earlier evaluation left in the folder.

    Tables and figures beside it are written anew by every evaluation.
    """
    if request.start_over:
        gates = (f"quality-{kind}/validation.json" for kind in ("labels", "proteins"))
        start_over(request.out, proof=(f"bundle/{MODEL_FILE}", "encoded", *gates), own=_OWN)
    yield


@contextmanager
def evaluation_run(
    request: EvaluateRequest, bundle: Bundle, uri: str, data: Annotated
) -> Iterator[tuple[Run, EncodedParts]]:
    """Hold the output folder; open the MLflow run, with what it reads, and the encoded parts.

    Parameters
    ----------
    uri : str
        The same model as the registry names it.

    Yields
    ------
    Run
    EncodedParts
        In the output folder; removed at the end unless the request keeps them.

    Raises
    ------
    InputError
        If another run is writing the output folder.
    """
    with (
        only_writer(request.out),
        _started_over(request),
        start_run(
            experiment="plmsae-evaluate",
            system_metrics=True,
            run_name=f"evaluate {bundle.name}",
            params=request_params(request, model=uri),
            folder=request.out,
        ) as tracked,
        encoded_parts(request.out / "encoded", keep=request.keep_encoded) as parts,
    ):
        tracked.set_tags({"split": data.how})
        log_used_version(tracked, uri)
        data.log(tracked, request)
        yield tracked, parts


def write_evaluated(
    request: EvaluateRequest,
    bundle: Bundle,
    data: Annotated,
    calling: Calling,
    *,
    metrics: Mapping[str, float],
    features: pl.DataFrame,
    concepts: pl.DataFrame,
    extra: Mapping[str, str | None] | None = None,
) -> Bundle:
    """Write the bundle with these metrics, and in its `extra` the split and what else is given.

    Of the metrics that the model has, those of its training stay.
    """
    return write_bundle(
        request.out / "bundle",
        sae_folder=bundle.sae_folder,
        meta=dataclasses.replace(
            bundle.meta,
            eval_data=data.report_data(request),
            metrics={**of_training(bundle.meta.metrics), **metrics},
            min_precision=request.min_precision,
            extra={
                **bundle.meta.extra,
                "split": data.how,
                "homology_leak": data.leak.line(),
                EVAL_LABELS: data.report_labels_sha256(),
                SELECT_SKETCH: data.select_sketch(),
                **(extra or {}),
            },
        ),
        features=features,
        concepts=concepts,
        callers=calling.callers,
    )


def log_evaluated(
    run: Run, out: Path, bundle: Bundle, metrics: dict[str, float], tables: dict[str, pl.DataFrame]
) -> None:
    """Log the metrics, the tables of the bundle, and `tables`, which are written into `out`."""
    run.log_metrics(0, charted(metrics))
    for name in ("features.parquet", "concepts.parquet"):
        run.log_table(bundle.path / name, "evaluation")
    for name, frame in tables.items():
        path = out / f"{name}.parquet"
        write_parquet(path, frame)
        run.log_table(path, "evaluation")


def registered(request: EvaluateRequest, bundle: Bundle, run: Run) -> str | None:
    """Register the evaluated bundle if the request asks for it; return ``NAME/VERSION``."""
    if not request.register:
        return None
    ref = register(bundle, run_id=run.run_id)
    return f"{ref.name}/{ref.version}"
