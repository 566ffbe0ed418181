"""What can be said of an SAE without labels: its reconstruction, and each latent's range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from plmsae.workflows.training.activations import activation_stream
from plmsae.workflows.training.transcoding import as_batch

if TYPE_CHECKING:
    import polars as pl
    import torch

    from plmsae.plm.fidelity import Fidelity, KeptReferences, Replace
    from plmsae.plm.model import Plm
    from plmsae.sae.base import Sae


class Measured(NamedTuple):
    """An SAE to measure."""

    sae: Sae
    """On the PLM's device."""
    layer: int
    target: int | None = None
    """Layer that a transcoder aims at."""


def reconstructions(
    plm: Plm,
    measured: Sequence[Measured],
    unit: str,
    sequences: list[str],
    seed: int,
    on_pass: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, float]]:
    """Measure how well SAEs reconstruct activations, and what that costs the PLM.

    All share the passes of the PLM up to their layers. The share of latents that fired for no
    residue is not among the metrics: so few proteins do not tell it. `plmsae.workflows.evaluate`
    measures it as ``dead_share``. A transcoder is held against its `target` layer.

    Parameters
    ----------
    unit : {"residue", "protein"}
    on_pass : callable, optional
        Called after each pass over the sequences with the number done and that of all.

    Returns
    -------
    list of dict
        In the order of `measured`.
    """
    from plmsae.sae.evaluate import ReconstructionSums

    n_passes = 1 if plm.masked_lm is None else 3
    sums = [ReconstructionSums(part.sae) for part in measured]
    read = {layer for part in measured for layer in (part.layer, part.target) if layer is not None}
    for x in activation_stream(plm, sorted(read), unit, sequences, seed):
        for part, of_part in zip(measured, sums, strict=True):
            of_part.add(as_batch(x, part.layer, part.target))
    metrics = [
        {name: float(value) for name, value in of_part.metrics().items() if name != "dead_share"}
        for of_part in sums
    ]
    on_pass(1, n_passes)
    if plm.masked_lm is None:
        return metrics
    for number, masked in enumerate((True, False), start=2):
        found = recovered(plm, measured, sequences, masked=masked)
        metrics = [one | other for one, other in zip(metrics, found, strict=True)]
        on_pass(number, n_passes)
    return metrics


def recovered(
    plm: Plm, measured: Sequence[Measured], sequences: list[str], *, masked: bool = True
) -> list[dict[str, float]]:
    """Return what is left of the PLM's predictions when each reconstruction is spliced in."""
    from plmsae.plm.fidelity import fidelities

    results = fidelities(plm, sequences, _replacements(measured), masked=masked)
    return _named(results, "" if masked else "_unmasked")


class RecoveryProbe:
    """`recovered` at masked positions, again and again while SAEs are trained.

    The PLM runs on the proteins at the first call; after that only its blocks above the SAE's layer
    do.

    Parameters
    ----------
    plm : Plm
        Opened with its head.
    layers : sequence of int
        Those of the SAEs.
    sequences : list of str
        Some ten proteins.
    """

    def __init__(self, plm: Plm, layers: Sequence[int], sequences: list[str]) -> None:
        self._plm, self._layers, self._sequences = plm, layers, sequences
        self._kept: KeptReferences | None = None

    def __call__(self, measured: Measured) -> dict[str, float]:
        """Return the metrics of one SAE."""
        from plmsae.plm.fidelity import KeptReferences

        if self._kept is None:
            self._kept = KeptReferences(self._plm, self._sequences, self._layers)
        return _named(self._kept.fidelities(_replacements([measured])))[0]


def _replacements(measured: Sequence[Measured]) -> list[tuple[int, Replace]]:
    return [(part.layer, part.sae.reconstruct) for part in measured]


def _named(results: Sequence[Fidelity], suffix: str = "") -> list[dict[str, float]]:
    return [
        {
            f"loss_recovered{suffix}": result.loss_recovered,
            f"ce_own{suffix}": result.own,
            f"ce_replaced{suffix}": result.replaced,
            f"kl{suffix}": result.kl,
        }
        for result in results
    ]


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
