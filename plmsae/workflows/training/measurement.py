"""What can be said of an SAE without labels: its reconstruction, and each latent's range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from plmsae.workflows.training.activations import activation_stream
from plmsae.workflows.training.transcoding import as_batch

if TYPE_CHECKING:
    import polars as pl
    import torch

    from plmsae.plm.model import Plm
    from plmsae.sae.base import Sae


def reconstruction(
    plm: Plm,
    layer: int,
    sae: Sae,
    unit: str,
    sequences: list[str],
    seed: int,
    *,
    target: int | None = None,
) -> dict[str, float]:
    """Measure how well an SAE reconstructs activations, and what that costs the PLM.

    The share of latents that fired for no residue is not among the metrics: so few proteins do not
    tell it. `plmsae.workflows.evaluate` measures it as ``dead_share``. A transcoder is held against
    its `target` layer.
    """
    from plmsae.sae.evaluate import evaluate_sae

    sae = sae.to(plm.device)
    read = (layer,) if target is None else (layer, target)
    stream = activation_stream(plm, read, unit, sequences, seed)
    found = evaluate_sae(sae, (as_batch(x, layer, target) for x in stream))
    metrics = {name: float(value) for name, value in found.items() if name != "dead_share"}
    if plm.masked_lm is not None:
        metrics |= recovered(plm, layer, sae, sequences)
        metrics |= recovered(plm, layer, sae, sequences, masked=False)
    return metrics


def recovered(
    plm: Plm, layer: int, sae: Sae, sequences: list[str], *, masked: bool = True
) -> dict[str, float]:
    """Return what is left of the PLM's predictions when the SAE's reconstruction is spliced in."""
    from plmsae.plm.fidelity import fidelity

    sae = sae.to(plm.device)
    result = fidelity(plm, sequences, layer, sae.reconstruct, masked=masked)
    suffix = "" if masked else "_unmasked"
    return {
        f"loss_recovered{suffix}": result.loss_recovered,
        f"ce_own{suffix}": result.own,
        f"ce_replaced{suffix}": result.replaced,
        f"kl{suffix}": result.kl,
    }


class LatentStatistics:
    """Each latent's highest activation and how often it fires, chunk by chunk."""

    def __init__(self, d_sae: int) -> None:
        self._highest_F = np.zeros(d_sae)
        self._fires_F = np.zeros(d_sae)
        self._rows = 0

    def add(self, sae: Sae, x_ND: torch.Tensor) -> None:
        """Count rows of raw activations."""
        code = sae.encode_csr(x_ND)
        np.maximum.at(self._highest_F, code.indices, code.data)
        self._fires_F += np.bincount(code.indices, minlength=len(self._fires_F))
        self._rows += len(x_ND)

    def frame(self) -> pl.DataFrame:
        """Return a bundle's features before anyone knows what they mean."""
        dead_F = self._highest_F <= 0
        return features_frame(self._fires_F / max(self._rows, 1), self._highest_F, dead_F)


def features_frame(
    density_F: Sequence[float] | np.ndarray[Any, Any],
    max_activation_F: Sequence[float] | np.ndarray[Any, Any],
    dead_F: Sequence[bool] | np.ndarray[Any, Any],
) -> pl.DataFrame:
    """Return ``features.parquet`` of latents without a concept."""
    import polars as pl

    from plmsae.bundle.schema import FEATURES_SCHEMA, empty_frame

    features = pl.DataFrame(
        {
            "latent": np.arange(len(density_F)),
            "density": density_F,
            "max_activation": max_activation_F,
            "dead": dead_F,
        }
    )
    return pl.concat([empty_frame(FEATURES_SCHEMA), features], how="diagonal_relaxed")
