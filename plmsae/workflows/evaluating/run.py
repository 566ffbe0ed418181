"""The run of an evaluation, whatever the unit of its model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from plmsae.bundle.reading import Bundle
from plmsae.core.folders import only_writer
from plmsae.registry.lineage import log_used_version
from plmsae.tracking.runs import Run, start_run
from plmsae.workflows.evaluating.activation_store import EncodedParts, encoded_parts
from plmsae.workflows.evaluating.annotated import Annotated
from plmsae.workflows.shared.requests import EvaluateRequest, request_params


@contextmanager
def evaluation_run(
    request: EvaluateRequest, bundle: Bundle, uri: str, data: Annotated
) -> Iterator[tuple[Run, EncodedParts]]:
    """Hold the output folder; open the MLflow run, with what it reads, and the encoded parts.

    Parameters
    ----------
    request : EvaluateRequest
    bundle : Bundle
        Of the model to evaluate.
    uri : str
        The same model as the registry names it.
    data : Annotated

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
        start_run(
            experiment="plmsae-evaluate",
            system_metrics=True,
            run_name=f"evaluate {bundle.name}",
            params=request_params(request, model=uri),
        ) as tracked,
        encoded_parts(request.out / "encoded", keep=request.keep_encoded) as parts,
    ):
        tracked.set_tags({"split": data.how})
        log_used_version(tracked, uri)
        data.log(tracked, request)
        yield tracked, parts
