"""What a bundle's ``model.json`` says, as a checked dataclass."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from plmsae.bundle.naming import UNITS, model_name
from plmsae.core.errors import FormatError
from plmsae.core.fingerprint import DataFingerprint

_METRIC = re.compile(r"[A-Za-z0-9_.-]{1,100}\Z")

EVAL_LABELS = "eval_labels_sha256"
"""Name in `BundleMeta.extra` of the fingerprint of the labels that concepts were measured on."""
TRAIN_RUN = "train_run"
"""Name in `BundleMeta.extra` of the MLflow run that trained or imported the SAE."""
QUALITY_WARNINGS = "quality_warnings"
"""Name in `BundleMeta.extra` of the warnings of the gates of the run that made it, in words."""
PLM_FOLDER = "plm_folder"
"""Name in `BundleMeta.extra` of the folder of a PLM of the user's own, where it lay in training."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class BundleMeta:
    """What ``model.json`` says: where the SAE came from, its shape and its measured quality.

    Raises
    ------
    InputError
        If a value is of the wrong type or out of range; the message names the field.
    """

    plm: str
    """Catalogue name or hub id of the protein language model."""
    plm_revision: str
    """The exact commit (or content hash) of its weights."""
    plm_vocabulary: str
    """Fingerprint of the vocabulary its proteins were read with; empty where an imported SAE's PLM
    was not opened."""
    layer: int
    """1-based: the residual stream after this block; 0 is the embedding output."""
    unit: str
    """``residue``, or ``protein`` (mean over residues)."""
    target: str = "input"
    """What it reconstructs: ``input``; a transcoder ``layer`` (another layer), or ``change`` (what
    the blocks up to that layer add)."""
    target_layer: int | None = None
    """That layer, of a transcoder."""
    arch: str
    """SAE architecture, as in its ``cfg.json``: ``topk``, ``jumprelu``, …"""
    d_in: int
    """Width of the activations."""
    d_sae: int
    k: int | None = None
    """Active latents per residue, where the architecture fixes it."""
    train_data: DataFingerprint | None = None
    eval_data: DataFingerprint | None = None
    """What its concepts were measured on (never what they were chosen on)."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Quality by name: ``explained_variance``, ``dead_share``, ``n_concepts_f1_50``, …"""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the packages that made it."""
    seed: int = 0
    """Seed of the training run."""
    min_precision: float = 0.0
    """Calls whose held-out precision is below this are not made unless asked for; in [0, 1]."""
    origin: str = "plmsae"
    """Who trained it: ``plmsae``, or where an imported SAE came from."""
    created: str = field(default_factory=_now)
    """When, ISO 8601 with a time zone, in UTC."""
    extra: Mapping[str, str | float | int | bool | None] = field(default_factory=dict)
    """Anything else worth keeping, flat."""

    def __post_init__(self) -> None:
        for name in (
            "plm",
            "plm_revision",
            "plm_vocabulary",
            "unit",
            "target",
            "arch",
            "origin",
            "created",
        ):
            _check(isinstance(getattr(self, name), str), name, "text", getattr(self, name))
        for name, low in (("layer", 0), ("d_in", 1), ("d_sae", 1), ("seed", 0)):
            value = getattr(self, name)
            _check(_is_int(value) and value >= low, name, f"a whole number from {low}", value)
        _check(bool(self.plm), "plm", "not empty", self.plm)
        _check(self.unit in UNITS, "unit", f"one of {', '.join(UNITS)}", self.unit)
        for_layer = self.target_layer is None or _is_int(self.target_layer)
        _check(for_layer, "target_layer", "a whole number", self.target_layer)
        good_k = self.k is None or (_is_int(self.k) and 1 <= self.k <= self.d_sae)
        _check(good_k, "k", f"from 1 to d_sae ({self.d_sae})", self.k)
        good = _is_number(self.min_precision) and 0 <= self.min_precision <= 1
        _check(good, "min_precision", "between 0 and 1", self.min_precision)
        for name, value in self.metrics.items():
            _check(_is_number(value), f"metrics.{name}", "a number", value)
            _check(bool(_METRIC.match(name)), "metrics", "named in letters, digits, _ . -", name)
        for name, text in self.versions.items():
            _check(isinstance(text, str), f"versions.{name}", "text", text)
        for name, scalar in self.extra.items():
            plain = scalar is None or isinstance(scalar, str | bool) or _is_number(scalar)
            _check(plain, f"extra.{name}", "text, a number, true, false or null", scalar)
        _check_time(self.created)
        _ = self.name

    @property
    def name(self) -> str:
        """The name it is registered under (see `plmsae.bundle.naming`)."""
        return model_name(
            self.plm, self.layer, self.unit, target=self.target, target_layer=self.target_layer
        )

    @property
    def is_transcoder(self) -> bool:
        """Whether it gives something else than what it reads."""
        return self.target != "input"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BundleMeta:
        """Build from `to_json`'s output; unknown and missing keys are errors."""
        known = {entry.name: entry for entry in dataclasses.fields(cls)}
        if unknown := sorted(set(value) - set(known)):
            raise FormatError(f"unknown field {unknown[0]!r}")
        needed = [
            name
            for name, entry in known.items()
            if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        ]
        if "plm_vocabulary" not in value:
            raise FormatError(
                "the bundle does not say which vocabulary its PLM was read with: plmsae before "
                "version 0.2 read ESM checkpoints with a wrong one",
                hint="train, or import, the SAE again",
            )
        if missing := [name for name in needed if name not in value]:
            raise FormatError(f"field {missing[0]!r} is missing")
        fields = dict(value)
        for name in ("metrics", "versions", "extra"):
            _check(isinstance(fields.get(name, {}), dict), name, "an object", fields.get(name))
        for name in ("train_data", "eval_data"):
            if fields.get(name) is not None:
                fields[name] = _fingerprint(name, fields[name])
        return cls(**fields)


def _fingerprint(name: str, value: Any) -> DataFingerprint:
    try:
        return DataFingerprint(**value)
    except (TypeError, ValueError) as error:
        raise FormatError(f"field {name!r} is not a data fingerprint: {error}") from error


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check(good: bool, name: str, expected: str, value: object) -> None:
    if not good:
        raise FormatError(f"field {name!r} must be {expected}", value=str(value))


def _check_time(text: str) -> None:
    try:
        zone = datetime.fromisoformat(text).utcoffset()
    except ValueError:
        zone = None
    _check(zone is not None, "created", "an ISO 8601 time with a time zone", text)
