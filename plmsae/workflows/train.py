"""Train SAEs on the activations of a PLM, measure them, log them, register them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from plmsae.bundle.metric_names import charted
from plmsae.core.atomic import write_json
from plmsae.core.errors import InputError
from plmsae.core.folders import only_writer
from plmsae.core.stopping import CONTINUES, kept_if_stopped, stop_requests
from plmsae.tracking.run_inputs import log_data
from plmsae.tracking.runs import Run, start_run
from plmsae.workflows.shared.device import check_device
from plmsae.workflows.shared.inputs import ProteinSet, check_proteins, read_protein_set
from plmsae.workflows.shared.model_gate import check_models, model_row
from plmsae.workflows.shared.progress import Progress, Silent
from plmsae.workflows.shared.requests import TrainRequest, request_params
from plmsae.workflows.shared.threads import on_threads
from plmsae.workflows.training.activation_cache import fill_cache, highest_layer, wanted_cache
from plmsae.workflows.training.activations import Activations, cached, in_blocks, streamed
from plmsae.workflows.training.measurement import (
    LatentStatistics,
    Measured,
    RecoveryProbe,
    reconstructions,
)
from plmsae.workflows.training.outcome import (
    TrainOutcome,
    log_trained,
    outcome_of,
    throughput_of,
    write_trained,
)
from plmsae.workflows.training.plan import (
    CHECKPOINTS,
    MADE_OF,
    PlannedSae,
    check_continuation,
    configs_of,
    hold_out,
    made_of,
    parts_of,
    start_training_over,
)
from plmsae.workflows.training.recipes import load_recipe, recipe_for
from plmsae.workflows.training.transcoding import target_layers, with_target

__all__ = ["TrainOutcome", "run"]

if TYPE_CHECKING:
    import polars as pl

    from plmsae.plm.model import Plm, PlmIdentity
    from plmsae.quality.report import ValidationReport
    from plmsae.sae.base import Sae
    from plmsae.sae.config import SaeConfig, TrainConfig
    from plmsae.sae.distributed import Place
    from plmsae.sae.run import TrainResult
    from plmsae.sae.train import Job

#: Held-out proteins on which the PLM is run again while training, for the loss recovered.
PROBED = 48


@on_threads
def run(request: TrainRequest, progress: Progress) -> list[TrainOutcome]:
    """Train one SAE for each layer and k of the request, all on one pass of activations.

    Started by ``torchrun``, each process trains on its share of every batch; the first one says,
    measures, logs and stores.

    Returns
    -------
    list of TrainOutcome
        By layer, then k, in the order of the request; empty in all processes but the first.

    Raises
    ------
    InputError
        If the input, the recipe, a layer or k is wrong, or the output folder or the cache is of
        something else or being written by another run.
    QualityError
        If the proteins fail a critical expectation, or a trained SAE does: nothing is registered.
    """
    from plmsae.sae.distributed import joined

    with joined() as place:
        return _run(request, place, Silent() if place.rank else progress)


def _layers(request: TrainRequest, parts: list[PlannedSae]) -> tuple[int, ...]:
    """Return every layer that is read: the inputs, and the targets of transcoders."""
    return tuple(sorted({*request.layers, *(p.target for p in parts if p.target is not None)}))


def _run(request: TrainRequest, place: Place, progress: Progress) -> list[TrainOutcome]:
    from plmsae.plm.model import identify_plm

    recipe = load_recipe(request.recipe or recipe_for(request.plm))
    recipe |= {key: value for key, value in request.overrides.items() if value is not None}
    recipe["seed"] = request.seed
    targets = target_layers(recipe, request.layers)
    parts = parts_of(request, request.k or (recipe["k"],), targets)
    identity = identify_plm(request.plm, revision=request.plm_revision)
    for layer in _layers(request, parts):
        identity.check_layer(layer, option="--layers")
    check_device(request.device)
    configs = configs_of(parts, recipe, identity.d_model, place)
    origin = made_of(request, parts, identity, place.world)
    if not request.start_over:
        check_continuation(origin, configs, request.out)
    origin_of_cache = {"plm": identity.id, "unit": request.unit}
    _check_cache(request, parts, identity, origin_of_cache)
    proteins = read_protein_set(
        request.proteins, max_proteins=request.max_proteins, seed=request.seed, progress=progress
    )
    if len(proteins.proteins) < 10:
        raise InputError(
            f"{len(proteins.proteins)} proteins are too few to train on and to hold some out",
            where=request.proteins,
        )
    origin_of_cache["proteins"] = proteins.fingerprint.sha256
    _check_cache(request, parts, identity, origin_of_cache)
    if place.rank:
        _train(request, recipe, parts, configs, proteins, place, progress, lambda *_: None)
        return []
    with ExitStack() as stack:
        stack.enter_context(only_writer(request.out))
        if request.start_over:
            start_training_over(request.out)
        origin["proteins"] = proteins.fingerprint.sha256
        check_continuation(origin, configs, request.out)
        tracked = stack.enter_context(
            start_run(
                experiment="plmsae-train",
                run_name=f"{request.plm} {request.unit}",
                params=request_params(
                    request,
                    **recipe | {"k": request.k if len(request.k) > 1 else parts[0].k},
                    activations="streamed" if request.cache is None else "cached",
                    processes=place.world,
                ),
                system_metrics=True,
                folder=request.out,
            )
        )
        write_json(request.out / CHECKPOINTS / MADE_OF, origin)
        stack.enter_context(kept_if_stopped(partial(_kept, request)))
        log_data(tracked, proteins.fingerprint, "train")
        checked = check_proteins(proteins, request.out / "quality", tracked)
        log = tracked.log_metrics
        trained = _train(request, recipe, parts, configs, proteins, place, progress, log)
        return _outcomes(request, recipe, parts, proteins, checked, trained, tracked, progress)


def _check_cache(
    request: TrainRequest, parts: list[PlannedSae], plm: PlmIdentity, source: dict[str, Any]
) -> None:
    """Refuse a cache of something else than `source`, as far as that is known yet."""
    if request.cache is not None:
        layers = _layers(request, parts)
        wanted_cache(request.cache, plm.d_model, layers, request.cache_dtype, source)


def _kept(request: TrainRequest) -> str:
    """Return what a training that was stopped leaves, in words; empty if it is nothing."""
    from plmsae.sae.cache_files import read_shards

    checkpoints = request.out / CHECKPOINTS
    if any(checkpoints.glob("sae-*/step-*")):
        return f"the last checkpoint is kept in {checkpoints}; {CONTINUES}"
    if request.cache is not None and read_shards(request.cache):
        return f"the activations so far are kept in {request.cache}; {CONTINUES}"
    return ""


class _Trained(NamedTuple):
    """What training leaves."""

    plm: Plm
    activations: Activations
    held_out: list[str]
    results: list[TrainResult]


def _train(
    request: TrainRequest,
    recipe: dict[str, Any],
    parts: list[PlannedSae],
    configs: list[tuple[SaeConfig, TrainConfig]],
    proteins: ProteinSet,
    place: Place,
    progress: Progress,
    log: Callable[[int, dict[str, float]], None],
) -> _Trained:
    """Train all SAEs on one pass of activations, from the PLM or from a cache."""
    from plmsae.plm.model import load_plm
    from plmsae.sae.distributed import wait_for_all
    from plmsae.sae.train import train_many

    # Each process has a device of its own.
    shared = place.world > 1 and request.device in ("auto", "cuda")
    device: Any = place.device if shared else request.device
    layers = _layers(request, parts)
    # The head is needed to say what a reconstruction costs the PLM; means have no such reading, and
    # what a transcoder gives does not belong where it reads.
    head = request.unit == "residue" and layers == tuple(sorted(request.layers))
    plm = load_plm(
        request.plm,
        device=device,
        precision=request.precision,
        revision=request.plm_revision,
        head=head,
        max_layer=None if head else highest_layer(request.cache, layers),
    )
    used, kept = hold_out(len(proteins.proteins), request.seed)
    held_out = [proteins.sequences[i] for i in kept]
    checkpoints = request.out / CHECKPOINTS
    if place.rank == 0 and request.cache is not None:
        fill_cache(
            request.cache, plm, layers, request.unit, proteins, progress, dtype=request.cache_dtype
        )
    wait_for_all()
    activations = _activations(request, recipe, layers, proteins, plm, used, kept, place)
    probe = None
    if plm.masked_lm is not None:
        probe = RecoveryProbe(plm, request.layers, held_out[:PROBED])
    jobs = [
        _job(part, own, plm, activations, probe) for part, own in zip(parts, configs, strict=True)
    ]
    kind = "SAE" if parts[0].target is None else f"transcoder ({recipe['target']})"
    what = f"{len(parts)} {kind}s" if len(parts) > 1 else f"{recipe['arch']} {kind}"
    listed = ", ".join(map(str, request.layers))
    with progress.task(f"training {what}, {plm.id} layer {listed}") as task:

        def on_metrics(number: int, step: int, metrics: dict[str, float]) -> None:
            prefix = parts[number].prefix
            log(step, charted(metrics, prefix))
            note = f"EV {metrics['explained_variance']:.3f}  dead {metrics['dead_share']:.1%}"
            task.update(step, jobs[number].train_config.total_steps, note)

        with stop_requests() as stop:
            results = train_many(
                activations.batches,
                jobs,
                on_metrics=on_metrics,
                checkpoint_dir=checkpoints,
                resume=True,
                # The first process stores: the others wait for it, and end when it has ended.
                stop=None if place.rank else stop,
            )
    return _Trained(plm, activations, held_out, results)


def _outcomes(
    request: TrainRequest,
    recipe: dict[str, Any],
    parts: list[PlannedSae],
    proteins: ProteinSet,
    checked: ValidationReport,
    trained: _Trained,
    tracked: Run,
    progress: Progress,
) -> list[TrainOutcome]:
    """Measure, check, log and bundle what was trained."""
    from plmsae.quality.report import warnings_in_words

    plm, activations, held_out, results = trained
    saes = [result.sae.to(plm.device) for result in results]
    features = _features(parts, saes, activations)
    outcomes = []
    measured = [
        Measured(sae, part.layer, part.target) for sae, part in zip(saes, parts, strict=True)
    ]
    with progress.task("measuring the reconstructions on held-out proteins") as task:
        found = reconstructions(plm, measured, request.unit, held_out, request.seed, task.update)
    final = [
        {**metrics, "gamma": float(result.metrics["gamma"])}
        for metrics, result in zip(found, results, strict=True)
    ]
    rows = []
    for part, sae, result, metrics in zip(parts, saes, results, final, strict=True):
        logged = {f"held_out_{k}": v for k, v in metrics.items()}
        logged |= {f"run_{k}": v for k, v in throughput_of(result).items()}
        tracked.log_metrics(result.steps, charted(logged, part.prefix))
        metrics["train_dead_share"] = float(result.metrics["dead_share"])
        rows.append(
            model_row(
                part.name,
                sae,
                {**metrics, "dead_share": metrics["train_dead_share"]},
                stored_scale=_stored_scale(sae, result),
            )
        )
    models = check_models(rows, request.out / "quality-models", tracked)
    warnings = warnings_in_words([checked, models])
    for number, (part, result) in enumerate(zip(parts, results, strict=True)):
        metrics = final[number]
        bundle = write_trained(
            request, recipe, proteins, plm, part, saes[number], features[number], metrics,
            run_id=tracked.run_id, warnings=warnings,
        )  # fmt: skip
        outcomes.append(outcome_of(request, part, bundle, metrics, throughput_of(result), tracked))
    log_trained(tracked, request, proteins, outcomes, (checked, models))
    return outcomes


def _stored_scale(sae: Sae, result: TrainResult) -> float | None:
    """Return the scale of the raw activations of training; None where rows were normalised."""
    raw = sae.config.input_norm == "none" or sae.config.is_transcoder
    return result.metrics.get("activation_scale") if raw else None


def _activations(
    request: TrainRequest,
    recipe: dict[str, Any],
    layers: tuple[int, ...],
    proteins: ProteinSet,
    plm: Plm,
    used: list[int],
    kept: list[int],
    place: Place,
) -> Activations:
    if request.cache is None:
        # Running the PLM is expensive: each process has proteins of its own.
        return streamed(
            plm,
            layers,
            request.unit,
            [proteins.sequences[i] for i in used[place.rank :: place.world]],
            batch_size=max(1, recipe["batch_size"] // place.world),
            seed=request.seed,
            n_rows=recipe["n_vectors"] // place.world,
            folder=request.out,
        )
    return cached(
        request.cache,
        layers,
        n_proteins=len(proteins.proteins),
        held_out=kept,
        batch_size=recipe["batch_size"],
        seed=request.seed,
        pin_memory=plm.device.type == "cuda",
    )


def _job(
    part: PlannedSae,
    configs: tuple[SaeConfig, TrainConfig],
    plm: Plm,
    activations: Activations,
    probe: RecoveryProbe | None,
) -> Job:
    from plmsae.sae.train import Job

    def measure(sae: Sae) -> dict[str, float]:
        return {} if probe is None else probe(Measured(sae.to(plm.device), part.layer))

    config, train_config = configs
    train_config = dataclasses.replace(train_config, device=str(plm.device))
    pick = with_target(activations.pick(part.layer), part.target, activations.pick)
    return Job(config, train_config, pick, measure)


def _features(
    parts: list[PlannedSae], saes: list[Sae], activations: Activations
) -> list[pl.DataFrame]:
    """Return the features table of each SAE, from one pass over a sample."""
    found = [LatentStatistics(sae.config.d_sae) for sae in saes]
    # One protein at a time, an SAE takes several times as long.
    for states in in_blocks(activations.sample()):
        for part, sae, statistics in zip(parts, saes, found, strict=True):
            statistics.add(sae, states[part.layer])
    return [statistics.frame() for statistics in found]
