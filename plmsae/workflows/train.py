"""Train an SAE on the activations of a PLM, measure it, log it, register it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plmsae.bundle import Bundle, write_bundle
from plmsae.bundle_frames import CONCEPTS_SCHEMA, FEATURES_SCHEMA, empty_frame
from plmsae.bundle_meta import BundleMeta
from plmsae.errors import InputError
from plmsae.recipes import SAE_KEYS, TRAIN_KEYS, load_recipe, recipe_for
from plmsae.run_facts import system_facts
from plmsae.tracking import Run, start_run
from plmsae.workflows.inputs import ProteinSet, gate, read_protein_set
from plmsae.workflows.progress import Progress
from plmsae.workflows.requests import TrainRequest

if TYPE_CHECKING:
    import torch

    from plmsae.plm.model import Plm
    from plmsae.sae.base import Sae

logger = logging.getLogger(__name__)

#: Proteins kept out of training, to measure the reconstruction on.
HELD_OUT = 256
#: Of those, as many as the PLM is run through again while training, for the loss recovered.
PROBED = 48
#: Proteins whose activations are computed at a time.
AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class TrainOutcome:
    """One trained SAE."""

    layer: int
    bundle: Path
    """Its bundle folder."""
    model: str | None
    """``NAME/version`` if it was registered."""
    metrics: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "layer": self.layer,
            "bundle": str(self.bundle),
            "model": self.model,
            "metrics": self.metrics,
        }

    def lines(self) -> list[str]:
        """Return it in words."""
        names = ("explained_variance", "l0", "dead_share", "loss_recovered")
        shown = ", ".join(
            f"{name.replace('_', ' ')} {self.metrics[name]:.3g}"
            for name in names
            if name in self.metrics
        )
        where = f"registered as {self.model}" if self.model else f"bundle in {self.bundle}"
        return [f"layer {self.layer}: {shown}", f"  {where}"]


def run(request: TrainRequest, progress: Progress) -> list[TrainOutcome]:
    """Train one SAE for each layer of the request.

    Raises
    ------
    InputError
        If the input, the recipe or the layer is wrong.
    QualityError
        If the proteins fail a critical expectation.
    """
    recipe = load_recipe(request.recipe or recipe_for(request.plm))
    recipe |= {key: value for key, value in request.overrides.items() if value is not None}
    recipe["seed"] = request.seed
    proteins = read_protein_set(
        request.proteins, max_proteins=request.max_proteins, seed=request.seed, progress=progress
    )
    if len(proteins.proteins) < 10:
        raise InputError(
            f"{len(proteins.proteins)} proteins are too few to train on and to hold some out",
            where=request.proteins,
        )
    outcomes = []
    for layer in request.layers:
        with start_run(
            experiment="plmsae-train",
            run_name=f"{request.plm} L{layer} {request.unit}",
            params={**recipe, "plm": request.plm, "layer": layer, "proteins": request.proteins},
        ) as tracked:
            context = {"rejected": proteins.rejected_frame()}
            gate("proteins", proteins.frame(), request.out / "quality", context, tracked)
            outcomes.append(_train_layer(request, recipe, proteins, layer, tracked, progress))
    return outcomes


def _train_layer(
    request: TrainRequest,
    recipe: dict[str, Any],
    proteins: ProteinSet,
    layer: int,
    tracked: Run,
    progress: Progress,
) -> TrainOutcome:
    from plmsae.plm.model import load_plm
    from plmsae.plm.splice import fidelity
    from plmsae.sae.config import SaeConfig, TrainConfig
    from plmsae.sae.data import shuffled_batches
    from plmsae.sae.evaluate import evaluate_sae
    from plmsae.sae.train import train

    device: Any = request.device
    # The head is needed to say what a reconstruction costs the PLM; means have no such reading.
    head = request.unit == "residue"
    plm = load_plm(
        request.plm,
        device=device,
        revision=request.plm_revision,
        head=head,
        max_layer=None if head else layer,
    )
    plm.check_layer(layer)
    train_set, held_out = _hold_out(proteins.sequences, request.seed)
    config = SaeConfig(d_in=plm.d_model, **{k: v for k, v in recipe.items() if k in SAE_KEYS})
    settings = {k: v for k, v in recipe.items() if k in TRAIN_KEYS}
    train_config = TrainConfig(**settings, device=str(plm.device))
    folder = request.out / f"L{layer}"
    batches = shuffled_batches(
        lambda: activation_stream(plm, layer, request.unit, train_set, request.seed),
        train_config.batch_size,
        buffer_rows=min(1 << 18, (1 << 28) // plm.d_model),
        seed=request.seed,
    )

    def recovered(sae: Sae, sequences: list[str], *, masked: bool = True) -> dict[str, float]:
        if not head:
            return {}
        result = fidelity(
            plm, sequences, layer, lambda x: sae.to(x.device).reconstruct(x), masked=masked
        )
        suffix = "" if masked else "_unmasked"
        return {
            f"loss_recovered{suffix}": result.loss_recovered,
            f"ce_own{suffix}": result.own,
            f"ce_replaced{suffix}": result.replaced,
            f"kl{suffix}": result.kl,
        }

    with progress.task(f"training {config.arch} SAE, {plm.id} layer {layer}") as task:

        def on_metrics(step: int, metrics: dict[str, float]) -> None:
            tracked.log_metrics(step, metrics)
            note = f"EV {metrics['explained_variance']:.3f}  dead {metrics['dead_share']:.1%}"
            task.update(step, train_config.total_steps, note)

        result = train(
            batches,
            config,
            train_config,
            on_metrics=on_metrics,
            probe=lambda sae: recovered(sae, held_out[:PROBED]),
            checkpoint_dir=folder / "checkpoints",
            resume=True,
        )
    with progress.task("measuring the reconstruction on held-out proteins") as task:
        sae = result.sae.to(plm.device)
        stream = activation_stream(plm, layer, request.unit, held_out, request.seed)
        measured = evaluate_sae(sae, stream)
        metrics = {
            **{k: float(v) for k, v in measured.items()},
            "dead_share": float(result.metrics["dead_share"]),
            "gamma": float(result.metrics["gamma"]),
            **recovered(sae, held_out),
            **recovered(sae, held_out, masked=False),
        }
        task.update(1, 1)
    bundle = _write(request, proteins, plm, layer, sae, train_set, metrics, recipe, folder)
    tracked.log_metrics(result.steps, {f"held_out_{k}": v for k, v in metrics.items()})
    model = None
    if request.register:
        from plmsae.registry import register

        ref = register(bundle, run_id=tracked.run_id)
        model = f"{ref.name}/{ref.version}"
    return TrainOutcome(layer=layer, bundle=bundle.path, model=model, metrics=metrics)


def activation_stream(
    plm: Plm, layer: int, unit: str, sequences: list[str], seed: int
) -> Iterator[torch.Tensor]:
    """Yield the activations of `sequences` in a random order, (length, D) or (1, D) each."""
    order = np.random.default_rng(seed).permutation(len(sequences))
    for first in range(0, len(order), AT_ONCE):
        chunk = [sequences[i] for i in order[first : first + AT_ONCE]]
        for _, states in plm.activations(chunk, [layer]):
            x_ND = states[layer]
            yield x_ND if unit == "residue" else x_ND.mean(0, keepdim=True)


def _hold_out(sequences: list[str], seed: int) -> tuple[list[str], list[str]]:
    """Split off at most `HELD_OUT` proteins, a tenth of a small set."""
    order = np.random.default_rng([seed, 7]).permutation(len(sequences))
    count = min(HELD_OUT, math.ceil(len(sequences) / 10))
    return [sequences[i] for i in order[count:]], [sequences[i] for i in order[:count]]


def _write(
    request: TrainRequest,
    proteins: ProteinSet,
    plm: Plm,
    layer: int,
    sae: Sae,
    train_set: list[str],
    metrics: dict[str, float],
    recipe: dict[str, Any],
    folder: Path,
) -> Bundle:
    """Write the bundle of an SAE that has no evidence yet."""
    import polars as pl

    sae.cpu().save(folder / "sae")
    sae.to(plm.device)
    stream = activation_stream(plm, layer, request.unit, train_set[:512], request.seed)
    highest, fires, rows = _latent_statistics(sae, stream)
    features = pl.DataFrame(
        {
            "latent": np.arange(len(highest)),
            "density": fires / max(rows, 1),
            "max_activation": highest,
            "dead": highest <= 0,
        }
    )
    meta = BundleMeta(
        plm=plm.id,
        plm_revision=plm.revision,
        layer=layer,
        unit=request.unit,
        arch=sae.config.arch,
        d_in=plm.d_model,
        d_sae=sae.config.d_sae,
        k=sae.config.k,
        train_data=proteins.fingerprint,
        metrics={k: v for k, v in metrics.items() if math.isfinite(v)},
        versions={k: v for k, v in system_facts().items() if not k.startswith("sys.")},
        seed=request.seed,
        extra={f"recipe.{k}": v for k, v in recipe.items() if k != "about"},
    )
    return write_bundle(
        folder / "bundle",
        sae_folder=folder / "sae",
        meta=meta,
        features=pl.concat([empty_frame(FEATURES_SCHEMA), features], how="diagonal_relaxed"),
        concepts=empty_frame(CONCEPTS_SCHEMA),
    )


def _latent_statistics(
    sae: Sae, stream: Iterator[torch.Tensor]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], int]:
    """Return each latent's highest activation and how many rows it fires on, and the rows."""
    highest = np.zeros(sae.config.d_sae)
    fires = np.zeros(sae.config.d_sae)
    rows = 0
    for x_ND in stream:
        code = sae.encode_csr(x_ND)
        np.maximum.at(highest, code.indices, code.data)
        fires += np.bincount(code.indices, minlength=len(fires))
        rows += len(x_ND)
    return highest, fires, rows
