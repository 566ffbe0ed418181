"""Train an SAE on the activations of a PLM, measure it, log it, register it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

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
    from plmsae.plm.model import Plm
    from plmsae.sae.base import Sae
    from plmsae.sae.run import TrainResult

logger = logging.getLogger(__name__)

#: Proteins kept out of training, to measure the reconstruction on.
HELD_OUT = 128
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
    check_layers(request)
    with start_run(
        experiment="plmsae-train",
        run_name=f"{request.plm} {request.unit}",
        params={
            **recipe,
            "plm": request.plm,
            "layers": request.layers,
            "unit": request.unit,
            "proteins": request.proteins,
        },
    ) as tracked:
        context = {"rejected": proteins.rejected_frame()}
        gate(
            "proteins",
            proteins.frame(),
            request.out / "quality",
            context,
            tracked,
            name=request.proteins,
        )
        return _train_layers(request, recipe, proteins, tracked, progress)


def check_layers(request: TrainRequest) -> None:
    """Raise `InputError` unless layers are named, each once."""
    if not request.layers or len(set(request.layers)) != len(request.layers):
        raise InputError("name at least one layer, each once", where="--layers")


def _train_layers(
    request: TrainRequest,
    recipe: dict[str, Any],
    proteins: ProteinSet,
    tracked: Run,
    progress: Progress,
) -> list[TrainOutcome]:
    """Train one SAE for each layer, on one pass of the PLM over the proteins."""
    from plmsae.plm.model import load_plm
    from plmsae.sae.config import SaeConfig, TrainConfig
    from plmsae.sae.data import shuffled_batches
    from plmsae.sae.train import Job, train_many

    device: Any = request.device
    # The head is needed to say what a reconstruction costs the PLM; means have no such reading.
    head = request.unit == "residue"
    plm = load_plm(
        request.plm,
        device=device,
        revision=request.plm_revision,
        head=head,
        max_layer=None if head else max(request.layers),
    )
    for layer in request.layers:
        plm.check_layer(layer)
    train_set, held_out = _hold_out(proteins.sequences, request.seed)
    config = SaeConfig(d_in=plm.d_model, **{k: v for k, v in recipe.items() if k in SAE_KEYS})
    settings = {k: v for k, v in recipe.items() if k in TRAIN_KEYS}
    steps = settings["n_vectors"] // settings["batch_size"]
    settings.setdefault("log_every", max(1, min(50, steps // 20)))  # a curve for short runs too
    train_config = TrainConfig(**settings, device=str(plm.device))
    width = plm.d_model * len(request.layers)
    batches = shuffled_batches(
        lambda: (
            torch.cat([x[layer] for layer in request.layers], dim=1)
            for x in activation_stream(plm, request.layers, request.unit, train_set, request.seed)
        ),
        train_config.batch_size,
        buffer_rows=min(1 << 18, (1 << 28) // width),
        seed=request.seed,
    )

    def job(number: int, layer: int) -> Job:
        columns = slice(number * plm.d_model, (number + 1) * plm.d_model)

        def probe(sae: Sae) -> dict[str, float]:
            return recovered(plm, layer, sae, held_out[:PROBED]) if head else {}

        return Job(config, train_config, lambda rows: rows[:, columns].contiguous(), probe)

    title = f"training {config.arch} SAE, {plm.id} layer {_list(request.layers)}"
    with progress.task(title) as task:

        def on_metrics(number: int, step: int, metrics: dict[str, float]) -> None:
            prefix = f"L{request.layers[number]}/" if len(request.layers) > 1 else ""
            tracked.log_metrics(step, {prefix + name: v for name, v in metrics.items()})
            note = f"EV {metrics['explained_variance']:.3f}  dead {metrics['dead_share']:.1%}"
            task.update(step, train_config.total_steps, note)

        results = train_many(
            batches,
            [job(number, layer) for number, layer in enumerate(request.layers)],
            on_metrics=on_metrics,
            checkpoint_dir=request.out / "checkpoints",
            resume=True,
        )
    outcomes = []
    with progress.task("measuring the reconstructions on held-out proteins") as task:
        for number, (layer, result) in enumerate(zip(request.layers, results, strict=True)):
            task.update(number, len(results), f"layer {layer}")
            outcomes.append(
                _finish(request, recipe, proteins, plm, layer, result, train_set, held_out, tracked)
            )
        task.update(len(results), len(results))
    return outcomes


def _list(layers: tuple[int, ...]) -> str:
    return ", ".join(str(layer) for layer in layers)


def _finish(
    request: TrainRequest,
    recipe: dict[str, Any],
    proteins: ProteinSet,
    plm: Plm,
    layer: int,
    result: TrainResult,
    train_set: list[str],
    held_out: list[str],
    tracked: Run,
) -> TrainOutcome:
    """Measure one trained SAE on held-out proteins, bundle it, register it."""
    from plmsae.sae.evaluate import evaluate_sae

    sae = result.sae.to(plm.device)
    stream = activation_stream(plm, (layer,), request.unit, held_out, request.seed)
    metrics = {
        **{k: float(v) for k, v in evaluate_sae(sae, (x[layer] for x in stream)).items()},
        "dead_share": float(result.metrics["dead_share"]),
        "gamma": float(result.metrics["gamma"]),
    }
    if plm.masked_lm is not None:
        metrics |= recovered(plm, layer, sae, held_out)
        metrics |= recovered(plm, layer, sae, held_out, masked=False)
    folder = request.out / f"L{layer}"
    bundle = _write(request, proteins, plm, layer, sae, train_set, metrics, recipe, folder)
    prefix = f"L{layer}/" if len(request.layers) > 1 else ""
    tracked.log_metrics(result.steps, {f"{prefix}held_out_{k}": v for k, v in metrics.items()})
    model = None
    if request.register:
        from plmsae.registry import register

        model = str(register(bundle, run_id=tracked.run_id))
    return TrainOutcome(layer=layer, bundle=bundle.path, model=model, metrics=metrics)


def recovered(
    plm: Plm, layer: int, sae: Sae, sequences: list[str], *, masked: bool = True
) -> dict[str, float]:
    """Return what is left of the PLM's predictions when the SAE's reconstruction is spliced in."""
    from plmsae.plm.splice import fidelity

    sae = sae.to(plm.device)
    result = fidelity(plm, sequences, layer, sae.reconstruct, masked=masked)
    suffix = "" if masked else "_unmasked"
    return {
        f"loss_recovered{suffix}": result.loss_recovered,
        f"ce_own{suffix}": result.own,
        f"ce_replaced{suffix}": result.replaced,
        f"kl{suffix}": result.kl,
    }


def activation_stream(
    plm: Plm, layers: tuple[int, ...], unit: str, sequences: list[str], seed: int
) -> Iterator[dict[int, torch.Tensor]]:
    """Yield the activations of `sequences` by layer, in a random order: (length, D) or (1, D)."""
    order = np.random.default_rng(seed).permutation(len(sequences))
    for first in range(0, len(order), AT_ONCE):
        chunk = [sequences[i] for i in order[first : first + AT_ONCE]]
        for _, states in plm.activations(chunk, layers):
            if unit == "protein":
                states = {layer: x_ND.mean(0, keepdim=True) for layer, x_ND in states.items()}
            yield states


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
    stream = activation_stream(plm, (layer,), request.unit, train_set[:512], request.seed)
    highest, fires, rows = _latent_statistics(sae, (x[layer] for x in stream))
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
