"""What a run used: data and logged models, as MLflow's inputs of the run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from plmsae.core.errors import printable
from plmsae.tracking.store import client, mlflow_errors

if TYPE_CHECKING:
    from plmsae.core.fingerprint import DataFingerprint
    from plmsae.tracking.runs import Run

Context = Literal["train", "choose", "report", "score", "truth"]
"""What the data were used for: training, choosing what latents mean, measuring what was chosen (on
other proteins), scoring or filling, counting what came back."""

_DIGEST = 36  # MLflow's limit; the whole SHA-256 is in the profile.


def log_data(run: Run, data: DataFingerprint, context: Context) -> None:
    """Log a data set as an input of a run, so that MLflow shows and finds it.

    Parameters
    ----------
    data : DataFingerprint
        Its file name becomes the name and the source of MLflow's data set, the start of its
        SHA-256 the digest; the whole of it and the counts are the profile.
    context : str
        See `Context`.

    Raises
    ------
    InputError
        If MLflow refuses.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    name = printable(data.source)[:500]
    counts = {"num_proteins": data.n_proteins, "num_residues": data.n_residues}
    profile = {"sha256": data.sha256} | {k: n for k, n in counts.items() if n is not None}
    # By its name alone: a folder of this machine tells nobody else anything.
    entity = Dataset(
        name=name,
        digest=data.sha256[:_DIGEST],
        source_type="local",
        source=json.dumps({"uri": name}),
        profile=json.dumps(profile),
    )
    tags = [InputTag(MLFLOW_DATASET_CONTEXT, context)]
    with mlflow_errors(run.tracking_uri):
        client(run.tracking_uri).log_inputs(run.run_id, datasets=[DatasetInput(entity, tags)])


def log_used_model(run: Run, model_id: str) -> None:
    """Log a logged model (``m-…``) as an input of a run.

    Raises
    ------
    InputError
        If MLflow refuses.
    """
    from mlflow.entities import LoggedModelInput

    with mlflow_errors(run.tracking_uri):
        client(run.tracking_uri).log_inputs(run.run_id, models=[LoggedModelInput(model_id)])
