"""The quality gate on trained SAEs: their weights and what was measured of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.tracking.runs import Run
from plmsae.workflows.shared.inputs import gate

if TYPE_CHECKING:
    from plmsae.quality.report import ValidationReport
    from plmsae.sae.base import Sae

_MEASURED = (
    *("l0", "dead_share", "explained_variance", "loss_recovered"),
    *("bad_activation_share", "activation_scale_ratio"),
)


def check_models(rows: Sequence[Mapping[str, Any]], out: Path, run: Run) -> ValidationReport:
    """Put SAEs through their gate, before they are registered.

    Parameters
    ----------
    rows : sequence of mapping
        One for each, from `model_row`.
    out : Path
        Where the page goes.
    run : Run
        Gets the page and the counts.

    Raises
    ------
    QualityError
        If one of them cannot be used.
    """
    import polars as pl

    names = [name for name in _MEASURED if any(name in row for row in rows)]
    schema: dict[str, Any] = {"model": pl.String, "k": pl.Int64, "n_bad_weights": pl.Int64}
    schema |= dict.fromkeys(("decoder_norm_error", *names), pl.Float64)
    table = pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)
    return gate("models", table, out, {}, run, name="trained SAEs")


def model_row(
    name: str, sae: Sae, metrics: Mapping[str, float], *, stored_scale: float | None = None
) -> dict[str, Any]:
    """Return the row of one SAE.

    Parameters
    ----------
    name : str
        Which it is.
    metrics : mapping of str to float
        What was measured, by the names of the suite; and ``activation_scale``. What is not finite
        becomes null, which the suite tells from what was not measured.
    stored_scale : float, optional
        The scale of the activations of training. Without it scales are not compared.
    """
    import torch

    n_bad = sum(int((~torch.isfinite(t)).sum()) for t in sae.stored_tensors().values())
    norm_F = torch.linalg.vector_norm(sae.W_dec_FD.detach(), dim=1)
    # Foreign SAEs may have dead latents whose direction is 0.
    error_F = (norm_F[norm_F > 0] - 1).abs()
    measured = {key: _finite(metrics[key]) for key in _MEASURED if key in metrics}
    if stored_scale and (scale := metrics.get("activation_scale")) is not None:
        measured["activation_scale_ratio"] = _finite(scale / stored_scale)
    return {
        "model": name,
        "k": sae.config.k,
        "n_bad_weights": n_bad,
        "decoder_norm_error": float(error_F.max()) if len(error_F) else None,
        **measured,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
