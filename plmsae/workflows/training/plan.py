"""What a request to train asks for: which SAEs, on which proteins, and whether it continues."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plmsae.core.errors import InputError
from plmsae.core.folders import start_over
from plmsae.plm.revision import body_revision
from plmsae.workflows.shared.recipe_settings import SAE_KEYS, TRAIN_KEYS
from plmsae.workflows.shared.requests import TrainRequest
from plmsae.workflows.training.activation_cache import cache_dtype

if TYPE_CHECKING:
    from plmsae.plm.model import PlmIdentity
    from plmsae.sae.config import SaeConfig, TrainConfig
    from plmsae.sae.distributed import Place

#: Proteins kept out of training, to measure the reconstruction on.
HELD_OUT = 128

CHECKPOINTS = "checkpoints"
MADE_OF = "made_of.json"
"""In `CHECKPOINTS`: what the activations of a run are made of."""
_OWN = re.compile(r"checkpoints|quality|quality-models|L\d+(-k\d+)?")


@dataclass(frozen=True, kw_only=True)
class PlannedSae:
    """One of the SAEs of a request."""

    layer: int
    k: int | None
    name: str
    """Of its folder: ``L4``, or ``L4-k32`` where there are several k."""
    prefix: str
    """Of its metrics, where there are several SAEs: ``L4/``, ``k32/`` or ``L4.k32/``."""
    target: int | None = None
    """Layer that a transcoder aims at."""


def parts_of(
    request: TrainRequest, ks: tuple[int | None, ...], targets: Mapping[int, int] | None = None
) -> list[PlannedSae]:
    """Return the SAEs of a request, or raise `InputError` naming the option at fault.

    `targets` are those of `plmsae.workflows.training.transcoding.target_layers`.
    """
    if not request.layers or len(set(request.layers)) != len(request.layers):
        raise InputError("name at least one layer, each once", where="--layers")
    if len(set(ks)) != len(ks) or any(k is not None and k < 1 for k in ks):
        raise InputError("must be from 1 up, each once", where="--k", value=", ".join(map(str, ks)))
    parts = []
    for layer in request.layers:
        for k in ks:
            name = f"L{layer}" if len(ks) == 1 else f"L{layer}-k{k}"
            of_layer = [f"L{layer}"] if len(request.layers) > 1 else []
            of_k = [f"k{k}"] if len(ks) > 1 else []
            prefix = "".join([".".join(of_layer + of_k), "/"]) if of_layer or of_k else ""
            target = (targets or {}).get(layer)
            parts.append(PlannedSae(layer=layer, k=k, name=name, prefix=prefix, target=target))
    return parts


def hold_out(n: int, seed: int) -> tuple[list[int], list[int]]:
    """Split off at most `HELD_OUT` of n proteins, a tenth of a small set; return both sides."""
    order = [int(i) for i in np.random.default_rng([seed, 7]).permutation(n)]
    count = min(HELD_OUT, math.ceil(n / 10))
    return order[count:], order[:count]


def configs_of(
    parts: list[PlannedSae], recipe: Mapping[str, Any], d_in: int, place: Place
) -> list[tuple[SaeConfig, TrainConfig]]:
    """Return what each SAE is and how it is trained; the device is chosen when the PLM is open.

    Raises
    ------
    InputError
        If a value of the recipe, or of an option in its place, is out of range.
    """
    from plmsae.sae.config import SaeConfig, TrainConfig
    from plmsae.sae.distributed import share_of

    choices = {key: value for key, value in recipe.items() if key in SAE_KEYS}
    settings = {key: value for key, value in recipe.items() if key in TRAIN_KEYS}
    train_config = TrainConfig(**settings)
    if "log_every" not in settings:  # a curve for short runs too
        log_every = max(1, min(50, train_config.total_steps // 20))
        train_config = dataclasses.replace(train_config, log_every=log_every)
    if place.world > 1:
        train_config = share_of(train_config, place)
    return [(SaeConfig(d_in=d_in, **{**choices, "k": part.k}), train_config) for part in parts]


def made_of(
    request: TrainRequest, parts: list[PlannedSae], plm: PlmIdentity, n_processes: int = 1
) -> dict[str, Any]:
    """Return what a run's activations are made of, beside the proteins, by option."""
    cache = request.cache and cache_dtype(request.cache, request.cache_dtype)
    return {
        "--plm": [plm.id, body_revision(plm.revision)],
        "--unit": request.unit,
        "--layers": list(request.layers),
        "--k": [part.k for part in parts if part.layer == request.layers[0]],
        "--seed": request.seed,
        "--cache": cache,
        "--target-layer": {str(p.layer): p.target for p in parts if p.target is not None} or None,
        "number of processes": n_processes if n_processes > 1 else None,
    }


def check_continuation(
    made_of: Mapping[str, Any], configs: list[tuple[SaeConfig, TrainConfig]], out: Path
) -> None:
    """Refuse to continue from checkpoints of another run; say what differs.

    Parameters
    ----------
    made_of : mapping
        As `made_of` returns it, with or without ``proteins``, their fingerprint.
    configs : list of (SaeConfig, TrainConfig)
        Of each SAE.
    """
    from plmsae.sae.checkpoints import check_checkpoint, latest_checkpoint

    folder = out / CHECKPOINTS
    path = folder / MADE_OF
    if path.exists() and any(folder.glob("sae-*/step-*")):
        stored = json.loads(path.read_text(encoding="utf-8"))
        if other := [name for name, value in made_of.items() if stored.get(name) != value]:
            raise InputError(
                f"the folder holds a run with other {', '.join(other)}",
                where=out,
                hint="give another --out, or what that run was given to continue it, or "
                "--start-over to remove what it left",
            )
    for number, (config, train_config) in enumerate(configs):
        if (found := latest_checkpoint(folder / f"sae-{number}")) is not None:
            check_checkpoint(found, config, train_config)


def start_training_over(out: Path) -> None:
    """Remove checkpoints, bundles and quality pages that an earlier training left in its folder."""
    start_over(out, proof=(f"{CHECKPOINTS}/{MADE_OF}",), own=_OWN)
