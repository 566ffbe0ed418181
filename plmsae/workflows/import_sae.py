"""Bring in an SAE that others trained: check that it fits its PLM, bundle it, register it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plmsae.bundle.meta import QUALITY_WARNINGS, TRAIN_RUN
from plmsae.bundle.naming import model_name, plm_slug
from plmsae.bundle.reading import Bundle
from plmsae.core.errors import InputError, NotFoundError
from plmsae.plm.facts import PlmFacts, plm_facts
from plmsae.tracking.run_inputs import log_data
from plmsae.tracking.runs import start_run
from plmsae.workflows.shared.device import check_device
from plmsae.workflows.shared.inputs import quality_rows, read_protein_set
from plmsae.workflows.shared.model_gate import check_models, model_row
from plmsae.workflows.shared.outcome import Outcome
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import ImportRequest, request_params
from plmsae.workflows.training.activations import activation_stream
from plmsae.workflows.training.import_checks import check_fit, check_names
from plmsae.workflows.training.outcome import remembered_plm, write_unevaluated_bundle

if TYPE_CHECKING:
    import polars as pl

    from plmsae.core.fingerprint import DataFingerprint
    from plmsae.plm.model import Plm
    from plmsae.sae.base import Sae

logger = logging.getLogger(__name__)

#: Proteins on which the reconstruction is measured, if proteins are given.
MEASURED = 128
#: Proteins of the sample that ships, on which the fit is measured.
FIT_PROTEINS = 32
_MOST_FACTS = 40
_MOST_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True)
class ImportOutcome(Outcome):
    """An SAE that was brought in."""

    bundle: Path
    model: str | None
    """``NAME/version`` if it was registered."""
    arch: str
    d_sae: int
    origin: dict[str, Any]
    """Where it comes from and how it was read."""
    metrics: dict[str, float]
    """What was measured; empty where the PLM was not opened."""
    quality: dict[str, Any]
    """Verdict of the gate on the SAE."""

    def lines(self) -> list[str]:
        """Return it in words."""
        k = self.origin.get("k")
        lines = [
            f"{self.origin['called']}: {self.arch}, {self.d_sae:,} latents"
            + ("" if k is None else f", k {k}")
        ]
        names = ("explained_variance", "l0", "loss_recovered")
        if self.metrics:
            lines.append(
                "  "
                + ", ".join(
                    f"{name.replace('_', ' ')} {self.metrics[name]:.3g}"
                    for name in names
                    if name in self.metrics
                )
            )
        where = f"registered as {self.model}" if self.model else f"bundle in {self.bundle}"
        verdicts = [f"{what}: {verdict}" for what, verdict in quality_rows(self.quality)]
        return [*lines, *(f"  {line}" for line in (*verdicts, where))]


def run(request: ImportRequest, progress: Progress) -> ImportOutcome:
    """Import one SAE.

    Raises
    ------
    UnsafeArtifactError
        If the file carries code or leads out of its folder.
    InputError
        If there is no such SAE, PLM or layer, they do not fit each other, or the file leaves
        something open, or the SAE does not fit the layer (with ``check_fit``); the message names
        the option, and the layer that fits.
    QualityError
        If the SAE cannot be used: a weight that is no number, or nothing that is ever active.
    """
    from plmsae.quality.report import warnings_in_words

    folder = _folder(request)
    check_device(request.device)
    facts = plm_facts(request.plm, revision=request.plm_revision, network=folder is None)
    facts.check_layer(request.layer)
    sae, origin = _read(request, folder, progress)
    check_fit(sae, origin, request, facts)
    measured = _measure(request, sae, origin, progress)
    with start_run(
        experiment="plmsae-import",
        run_name=f"import {origin['called']}",
        params=request_params(
            request,
            **{name: origin[name] for name in ("format", "file", "sha256", "d_in", "d_sae")},
            arch=sae.config.arch,
            k=sae.config.k,
        ),
    ) as tracked:
        tracked.log_text(json.dumps(origin, indent=2, ensure_ascii=False), "origin.json")
        if measured.metrics:
            tracked.log_metrics(0, measured.metrics)
        if measured.data is not None:
            log_data(tracked, measured.data, "report")
        # Of an SAE that may be of another layer, what it explains there is no fault.
        relative = () if request.check_fit else ("explained_variance", "loss_recovered")
        known = {name: value for name, value in measured.metrics.items() if name not in relative}
        row = model_row(origin["called"], sae, known)
        models = check_models([row], request.out / "quality-models", tracked)
        warnings = warnings_in_words([models])
        bundle = _write(request, facts, sae, origin, measured, tracked.run_id, warnings)
        model = None
        if request.register:
            from plmsae.registry.models import register

            model = str(register(bundle, run_id=tracked.run_id))
    return ImportOutcome(
        bundle=bundle.path,
        model=model,
        arch=sae.config.arch,
        d_sae=sae.config.d_sae,
        origin={name: value for name, value in origin.items() if name != "per_latent"},
        metrics=measured.metrics,
        quality={models.kind: models.verdicts()},
    )


def _folder(request: ImportRequest) -> Path | None:
    """Return the local source, or None for the hub."""
    if request.folder is not None and request.from_ is not None:
        raise InputError("give DIR or --from, not both", where="plmsae import")
    folder = request.folder or request.from_
    if folder is None and request.source == "sae":
        raise InputError("give the folder or the weights file", where="plmsae import sae")
    if folder is not None and not folder.exists():
        raise NotFoundError("no such file or folder", where=folder)
    if request.source == "interplm" and request.format not in ("auto", "interplm"):
        raise InputError(
            "InterPLM's layout is its own",
            where="--format",
            value=request.format,
            hint="leave it out, or import sae",
        )
    return folder


def _read(
    request: ImportRequest, folder: Path | None, progress: Progress
) -> tuple[Sae, dict[str, Any]]:
    """Return the SAE and its origin; fetched first if it is on the hub."""
    from plmsae.sae.importing.dispatch import import_sae
    from plmsae.sae.importing.hub import fetch_interplm

    fetched: dict[str, str] = {}
    convention: Any = request.convention
    arch: Any = request.arch
    if folder is None:
        with progress.task(f"fetching InterPLM's SAE of {request.plm}, layer {request.layer}"):
            folder, fetched = fetch_interplm(plm_slug(request.plm), request.layer)
    else:
        check_names(folder, request)
    sae, origin = import_sae(
        folder,
        format="interplm" if request.source == "interplm" else request.format,
        k=request.k,
        arch=arch,
        layer=request.layer,
        norm_factor=request.norm_factor,
        convention=convention,
    )
    origin |= fetched
    if fetched:
        where = f"{fetched['repository']} {fetched['path']} at {fetched['commit'][:12]}"
    else:
        where = f"{origin['format']} {origin['file']}, SHA-256 {origin['sha256'][:12]}"
    origin["called"] = where if request.name is None else f"{request.name} ({where})"
    return sae, origin


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What was found with the PLM; without it, what the file says."""

    features: pl.DataFrame
    metrics: dict[str, float] = field(default_factory=dict)
    data: DataFingerprint | None = None
    """On what they were measured."""
    plm_revision: str | None = None
    """None where the PLM was not opened."""
    plm_vocabulary: str = ""


def _measure(
    request: ImportRequest, sae: Sae, origin: Mapping[str, Any], progress: Progress
) -> _Measured:
    """Hold the SAE against its layer, and measure it on the proteins that were given.

    Raises
    ------
    InputError
        If the PLM cannot be opened or the SAE does not fit its layer.
    """
    from plmsae.workflows.shared.swissprot_sample import sample_proteins
    from plmsae.workflows.training.measurement import LatentStatistics, Measured, reconstructions

    features = _features_of_file(sae, origin)
    if request.proteins is None and not request.check_fit:
        return _Measured(features=features)
    # The head says what a reconstruction costs the PLM; means and transcoders have no such reading.
    head = (
        request.proteins is not None and request.unit == "residue" and request.target_layer is None
    )
    highest = max(request.layer + 1, request.target_layer or 0)
    plm = _open_plm(request, head=head, max_layer=None if head else highest)
    sae = sae.to(plm.device)
    if request.check_fit:
        with progress.task(f"checking that the SAE fits layer {request.layer} of {plm.id}"):
            _check_layer(request, plm, sae)
    if request.proteins is None:
        proteins = sample_proteins(FIT_PROTEINS)
    else:
        proteins = read_protein_set(
            request.proteins, max_proteins=MEASURED, seed=request.seed, progress=progress
        )
    with progress.task(f"measuring the reconstruction on {len(proteins.proteins)} proteins"):
        (metrics,) = reconstructions(
            plm,
            [Measured(sae, request.layer, request.target_layer)],
            request.unit,
            proteins.sequences,
            request.seed,
        )
        # So few proteins as ship tell what an SAE explains, not the range of thousands of latents.
        if request.proteins is not None:
            statistics = LatentStatistics(sae.config.d_sae)
            for states in activation_stream(
                plm, (request.layer,), request.unit, proteins.sequences, request.seed
            ):
                statistics.add(sae, states[request.layer])
            features = statistics.frame()
    if metrics["explained_variance"] <= 0:
        logger.warning(
            "it explains nothing of what %s computes after block %d (explained variance %.2f): "
            "are --plm, --layer, --norm-factor and --convention those it was trained with?",
            request.plm,
            request.layer,
            metrics["explained_variance"],
        )
    return _Measured(
        features=features,
        metrics=metrics,
        data=proteins.fingerprint,
        plm_revision=plm.revision,
        plm_vocabulary=plm.vocabulary.fingerprint,
    )


def _features_of_file(sae: Sae, origin: Mapping[str, Any]) -> pl.DataFrame:
    """Return the features table as the file gives it; the rest is 0 until `evaluate` finds it."""
    from plmsae.workflows.training.measurement import features_frame

    nothing_F = np.zeros(sae.config.d_sae)
    given = origin["per_latent"].get("max_activation")
    highest_F = nothing_F if given is None else np.asarray(given, dtype=np.float64)
    dead_F = np.full(sae.config.d_sae, given is not None) & (highest_F <= 0)
    return features_frame(nothing_F, highest_F, dead_F)


def _open_plm(request: ImportRequest, *, head: bool, max_layer: int | None) -> Plm:
    from plmsae.plm.model import load_plm

    device: Any = request.device
    try:
        return load_plm(
            request.plm,
            device=device,
            precision="auto",
            revision=request.plm_revision,
            head=head,
            max_layer=max_layer,
        )
    except InputError as error:
        if request.proteins is not None:
            raise
        raise InputError(
            f"the SAE cannot be held against its PLM: {error}",
            hint="--no-check-fit imports it unmeasured",
        ) from error


def _check_layer(request: ImportRequest, plm: Plm, sae: Sae) -> None:
    """Raise `InputError` if the SAE fits another layer, or none; name the one that fits best."""
    from plmsae.workflows.shared.swissprot_sample import sample_proteins
    from plmsae.workflows.training.layer_fit import explained_by_layer, fits, misfit, neighbours

    sequences = sample_proteins(FIT_PROTEINS).sequences
    # A transcoder reads below the layer that it gives.
    last = plm.n_layers if request.target_layer is None else request.target_layer - 1

    def explained(plm: Plm, layers: Iterable[int]) -> dict[int, float]:
        return explained_by_layer(
            plm, sae, request.unit, sequences, layers, target=request.target_layer
        )

    near = explained(plm, neighbours(request.layer, last))
    if fits(near, request.layer):
        return
    whole = _open_plm(request, head=False, max_layer=last)
    rest = explained(whole, [layer for layer in range(last + 1) if layer not in near])
    raise misfit(near | rest, request.layer, plm.id)


def _write(
    request: ImportRequest,
    facts: PlmFacts,
    sae: Sae,
    origin: Mapping[str, Any],
    measured: _Measured,
    run_id: str,
    warnings: str,
) -> Bundle:
    name = model_name(
        facts.id,
        request.layer,
        request.unit,
        target=sae.config.target,
        target_layer=request.target_layer,
    )
    revision = facts.revision if measured.plm_revision is None else measured.plm_revision
    return write_unevaluated_bundle(
        request.out / name,
        sae,
        measured.features,
        measured.metrics,
        plm=facts.id,
        plm_revision=revision,
        plm_vocabulary=measured.plm_vocabulary,
        layer=request.layer,
        unit=request.unit,
        target_layer=request.target_layer,
        seed=request.seed,
        origin=origin["called"],
        extra={
            TRAIN_RUN: run_id,
            QUALITY_WARNINGS: warnings,
            **_flat(origin, measured.data),
            **remembered_plm(request.plm, request.plm_revision),
        },
    )


def _flat(
    origin: Mapping[str, Any], data: DataFingerprint | None
) -> dict[str, str | float | int | bool | None]:
    """Return the origin as flat facts; the whole is the run's ``origin.json``."""
    config = origin.get("config")
    facts = {
        **{f"origin.{name}": value for name, value in origin.items()},
        **{
            f"origin.config.{k}": v for k, v in (config if isinstance(config, dict) else {}).items()
        },
    }
    flat: dict[str, str | float | int | bool | None] = {}
    for name, value in facts.items():
        if isinstance(value, str):
            flat[name] = value[:_MOST_CHARACTERS]
        elif isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            flat[name] = value
    flat = dict(list(flat.items())[:_MOST_FACTS])
    if data is not None:
        flat["measured_on"] = data.source
        flat["measured_on_sha256"] = data.sha256
    return flat
