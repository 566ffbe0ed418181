"""Bring in an SAE that others trained: check that it fits its PLM, bundle it, register it."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plmsae.bundle.naming import model_name, plm_slug
from plmsae.bundle.reading import Bundle
from plmsae.core.errors import InputError, NotFoundError
from plmsae.plm.facts import PlmFacts, plm_facts
from plmsae.tracking.runs import start_run
from plmsae.workflows.shared.inputs import read_protein_set
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import ImportRequest, request_params
from plmsae.workflows.training.import_checks import check_fit, check_names
from plmsae.workflows.training.outcome import remembered_plm, write_unevaluated_bundle

if TYPE_CHECKING:
    import polars as pl

    from plmsae.core.fingerprint import DataFingerprint
    from plmsae.sae.base import Sae

logger = logging.getLogger(__name__)

#: Proteins on which the reconstruction is measured, if proteins are given.
MEASURED = 128
_MOST_FACTS = 40
_MOST_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True)
class ImportOutcome:
    """An SAE that was brought in."""

    bundle: Path
    model: str | None
    """``NAME/version`` if it was registered."""
    arch: str
    d_sae: int
    origin: dict[str, Any]
    """Where it comes from and how it was read."""
    metrics: dict[str, float]
    """What was measured; empty without proteins."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**dataclasses.asdict(self), "bundle": str(self.bundle)}

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
        return [*lines, f"  {where}"]


def run(request: ImportRequest, progress: Progress) -> ImportOutcome:
    """Import one SAE.

    Raises
    ------
    UnsafeArtifactError
        If the file carries code or leads out of its folder.
    InputError
        If there is no such SAE, PLM or layer, they do not fit each other, or the file leaves
        something open; the message names the option that says it.
    """
    folder = _folder(request)
    facts = plm_facts(request.plm, revision=request.plm_revision, network=folder is None)
    facts.check_layer(request.layer)
    sae, origin = _read(request, folder, progress)
    check_fit(sae, origin, request, facts)
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
        metrics, features, data, vocabulary = _measure(request, sae, origin, progress)
        if metrics:
            tracked.log_metrics(0, metrics)
        bundle = _write(request, facts, vocabulary, sae, origin, metrics, features, data)
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
        metrics=metrics,
    )


def _folder(request: ImportRequest) -> Path | None:
    """Return the local source, or None for the hub."""
    if request.folder is not None and request.from_ is not None:
        raise InputError("give DIR or --from, not both", where="plmsae import")
    folder = request.folder or request.from_
    if request.source not in ("interplm", "sae"):
        raise InputError("import interplm or sae", where="SOURCE", value=request.source)
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


def _measure(
    request: ImportRequest, sae: Sae, origin: Mapping[str, Any], progress: Progress
) -> tuple[dict[str, float], pl.DataFrame, DataFingerprint | None, str]:
    """Measure the SAE on proteins, if there are any.

    Returns metrics, the features table, the data they were measured on, and the fingerprint of the
    PLM's vocabulary (empty where the PLM was not opened).
    """
    from plmsae.workflows.training.measurement import features_frame

    if request.proteins is None:
        nothing_F = np.zeros(sae.config.d_sae)
        # What the file does not say is 0 until `evaluate` finds it.
        given = origin["per_latent"].get("max_activation")
        highest_F = nothing_F if given is None else np.asarray(given, dtype=np.float64)
        dead_F = np.full(sae.config.d_sae, given is not None) & (highest_F <= 0)
        return {}, features_frame(nothing_F, highest_F, dead_F), None, ""
    from plmsae.plm.model import load_plm
    from plmsae.workflows.training.activations import activation_stream
    from plmsae.workflows.training.measurement import (
        LatentStatistics,
        Measured,
        reconstructions,
    )

    proteins = read_protein_set(
        request.proteins, max_proteins=MEASURED, seed=request.seed, progress=progress
    )
    device: Any = request.device
    # The head says what a reconstruction costs the PLM; means and transcoders have no such reading.
    head = request.unit == "residue" and request.target_layer is None
    plm = load_plm(
        request.plm,
        device=device,
        precision="auto",
        revision=request.plm_revision,
        head=head,
        max_layer=None if head else request.target_layer or request.layer,
    )
    sae = sae.to(plm.device)
    with progress.task(f"measuring the reconstruction on {len(proteins.proteins)} proteins"):
        measured = Measured(sae, request.layer, request.target_layer)
        metrics = reconstructions(plm, [measured], request.unit, proteins.sequences, request.seed)[
            0
        ]
        statistics = LatentStatistics(sae.config.d_sae)
        for states in activation_stream(
            plm, (request.layer,), request.unit, proteins.sequences, request.seed
        ):
            statistics.add(sae, states[request.layer])
    if metrics["explained_variance"] <= 0:
        logger.warning(
            "it explains nothing of what %s computes after block %d (explained variance %.2f): "
            "are --plm, --layer, --norm-factor and --convention those it was trained with?",
            request.plm,
            request.layer,
            metrics["explained_variance"],
        )
    return metrics, statistics.frame(), proteins.fingerprint, plm.vocabulary.fingerprint


def _write(
    request: ImportRequest,
    facts: PlmFacts,
    vocabulary: str,
    sae: Sae,
    origin: Mapping[str, Any],
    metrics: Mapping[str, float],
    features: pl.DataFrame,
    data: DataFingerprint | None,
) -> Bundle:
    name = model_name(
        facts.id,
        request.layer,
        request.unit,
        target=sae.config.target,
        target_layer=request.target_layer,
    )
    return write_unevaluated_bundle(
        request.out / name,
        sae,
        features,
        metrics,
        plm=facts.id,
        plm_revision=facts.revision,
        plm_vocabulary=vocabulary,
        layer=request.layer,
        unit=request.unit,
        target_layer=request.target_layer,
        seed=request.seed,
        origin=origin["called"],
        extra=_flat(origin, data) | remembered_plm(request.plm, request.plm_revision),
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
