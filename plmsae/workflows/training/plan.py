"""What a request to train asks for: which SAEs, on which proteins, and whether it continues."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plmsae.core.atomic import write_json
from plmsae.core.errors import InputError
from plmsae.plm.revision import body_revision
from plmsae.workflows.shared.inputs import ProteinSet
from plmsae.workflows.shared.requests import TrainRequest
from plmsae.workflows.training.activation_cache import cache_dtype

if TYPE_CHECKING:
    from plmsae.plm.model import PlmIdentity

#: Proteins kept out of training, to measure the reconstruction on.
HELD_OUT = 128


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


def check_continuation(
    request: TrainRequest,
    parts: list[PlannedSae],
    proteins: ProteinSet,
    plm: PlmIdentity,
    folder: Path,
    n_processes: int = 1,
) -> None:
    """Refuse to continue from checkpoints made of other activations; say which is which.

    What the checkpoints know themselves (architecture, schedule) they compare themselves.
    """
    cache = request.cache and cache_dtype(request.cache, request.cache_dtype)
    made_of = {
        "proteins": proteins.fingerprint.sha256,
        "--plm": [plm.id, body_revision(plm.revision)],
        "--unit": request.unit,
        "--layers": list(request.layers),
        "--k": [part.k for part in parts if part.layer == request.layers[0]],
        "--seed": request.seed,
        "--cache": cache,
        "--target-layer": {str(p.layer): p.target for p in parts if p.target is not None} or None,
        "number of processes": n_processes if n_processes > 1 else None,
    }
    path = folder / "made_of.json"
    if path.exists() and any(folder.glob("sae-*/step-*")):
        stored = json.loads(path.read_text(encoding="utf-8"))
        if other := [name for name, value in made_of.items() if stored.get(name) != value]:
            raise InputError(
                f"the folder holds a run with other {', '.join(other)}",
                where=request.out,
                hint="give another --out, or what that run was given to continue it, or remove "
                f"{folder} to start over",
            )
    write_json(path, made_of)
