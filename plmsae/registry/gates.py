"""The gates of ``registry/promotion.yaml``: reading them, and holding metrics against them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from plmsae.core.errors import InputError
from plmsae.core.resources import registry_path

_OPS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One condition of ``promotion.yaml``; that file says what the fields mean."""

    metric: str
    """Name of the metric in the candidate's bundle."""
    op: str
    """``>=`` or ``<=``."""
    value: float
    """The bound, or what is added to the number that `relative_to` names."""
    relative_to: str = "none"
    """``none``, ``champion`` or ``metric:NAME``."""
    if_missing: str = "fail"
    """``fail`` or ``skip``."""
    why: str = ""
    """Shown when the gate fails."""

    def __post_init__(self) -> None:
        relative = self.relative_to in ("none", "champion") or self.relative_to.startswith(
            "metric:"
        )
        number = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        for good, name in (
            (bool(self.metric) and isinstance(self.metric, str), "metric"),
            (self.op in _OPS, "op"),
            (number, "value"),
            (relative, "relative_to"),
            (self.if_missing in ("fail", "skip"), "if_missing"),
        ):
            if not good:
                raise InputError(f"gate field {name!r} is wrong", value=str(getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """What became of one gate."""

    gate: Gate
    passed: bool
    """Whether it is met; a gate that does not apply counts as met."""
    expected: str
    """The condition with its numbers: ``explained_variance >= 0.88 (champion -0.02)``."""
    found: str
    """The candidate's number, or why there is none."""
    skipped: bool = False
    """Whether it does not apply, for want of a number or of a champion."""

    @property
    def verdict(self) -> str:
        """``met``, ``not met`` or ``does not apply``."""
        return "does not apply" if self.skipped else "met" if self.passed else "not met"


def load_gates(path: Path | None = None) -> tuple[Gate, ...]:
    """Read gates from a YAML file, by default the reviewed ``registry/promotion.yaml``.

    Raises
    ------
    InputError
        If the file is not of that form; the message names the gate and the field.
    """
    path = path or registry_path("promotion.yaml")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"not readable as YAML: {error}", where=path) from error
    listed = content.get("gates") if isinstance(content, dict) else None
    if not isinstance(listed, list) or not listed:
        raise InputError("must hold a list called 'gates'", where=path)
    gates = []
    for number, entry in enumerate(listed, start=1):
        try:
            gates.append(Gate(**entry))
        except (TypeError, InputError) as error:
            raise InputError(str(error), where=path, record=f"gate {number}") from error
    return tuple(gates)


def check_gates(
    gates: tuple[Gate, ...],
    metrics: Mapping[str, float],
    champion: Mapping[str, float] | None,
    *,
    no_champion: str = "no champion yet",
    incomparable: str | None = None,
) -> tuple[GateResult, ...]:
    """Hold a candidate's metrics against the gates.

    Parameters
    ----------
    gates : tuple of Gate
        From `load_gates`.
    champion : mapping or None
        The present champion's; None if there is none (or it is the candidate).
    no_champion : str
        What to say of a gate relative to the champion where that is None.
    incomparable : str, optional
        Why numbers of the champion and the candidate cannot be compared. A gate relative to the
        champion is then not met: nobody can say that it is.
    """
    return tuple(_check_gate(gate, metrics, champion, no_champion, incomparable) for gate in gates)


def _check_gate(
    gate: Gate,
    metrics: Mapping[str, float],
    champion: Mapping[str, float] | None,
    no_champion: str,
    incomparable: str | None,
) -> GateResult:
    bound_of = f"{gate.value:g}"
    if gate.relative_to != "none":
        shift = f" {gate.value:+g}" if gate.value else ""
        bound_of = f"{gate.relative_to.removeprefix('metric:')}{shift}"
    plain = f"{gate.metric} {gate.op} {bound_of}"

    def missing(what: str) -> GateResult:
        skipped = gate.if_missing == "skip"
        found = f"{what}{' (skipped)' if skipped else ''}"
        return GateResult(gate=gate, passed=skipped, expected=plain, found=found, skipped=skipped)

    if gate.metric not in metrics:
        return missing(f"{gate.metric} was not measured")
    base = 0.0
    if gate.relative_to == "champion":
        if champion is None:
            return GateResult(
                gate=gate, passed=True, expected=plain, found=no_champion, skipped=True
            )
        if gate.metric not in champion:
            found = f"the champion has no {gate.metric} to compare with (skipped)"
            return GateResult(gate=gate, passed=True, expected=plain, found=found, skipped=True)
        if incomparable is not None:
            return GateResult(gate=gate, passed=False, expected=plain, found=incomparable)
        base = champion[gate.metric]
    elif gate.relative_to != "none":
        other = gate.relative_to[7:]
        if other not in metrics:
            return missing(f"{other} was not measured")
        base = metrics[other]
    bound = base + gate.value
    expected = (
        plain if gate.relative_to == "none" else f"{gate.metric} {gate.op} {bound:g} ({bound_of})"
    )
    value = metrics[gate.metric]
    # A difference in the last binary digit must not decide who is champion.
    close = abs(value - bound) <= 1e-9 * max(1.0, abs(bound))
    passed = close or _OPS[gate.op](value, bound)
    return GateResult(gate=gate, passed=passed, expected=expected, found=f"{value:g}")
