"""A champion and its challenger side by side, ranked only if measured on the same data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plmsae.bundle.meta import EVAL_LABELS, BundleMeta

_LOWER_IS_BETTER = frozenset({"dead_share"})


@dataclass(frozen=True, kw_only=True)
class ComparedMetric:
    """One metric of both."""

    name: str
    champion: float | None
    """None if it was not measured."""
    challenger: float | None
    better: str | None
    """``champion``, ``challenger`` or ``equal``; None where the two cannot be ranked."""


@dataclass(frozen=True, kw_only=True)
class ModelComparison:
    """Two versions of one model."""

    champion: str
    """``NAME/version``."""
    challenger: str
    same_data: bool
    """Whether both were measured on the same proteins with the same labels."""
    data: str
    """On what they were measured, in words; or why that is not the same."""
    metrics: tuple[ComparedMetric, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return dataclasses.asdict(self)


def compare_versions(
    champion: tuple[str, BundleMeta], challenger: tuple[str, BundleMeta], names: Sequence[str]
) -> ModelComparison:
    """Put two versions side by side.

    Parameters
    ----------
    champion, challenger : tuple of str and BundleMeta
        ``NAME/version`` and what its bundle says.
    names : sequence of str
        Metrics to show; those that neither has are left out.
    """
    same, words = same_evaluation(champion[1], challenger[1])
    metrics = []
    for name in names:
        old, new = (meta.metrics.get(name) for _, meta in (champion, challenger))
        if old is None and new is None:
            continue
        better = None
        if same and old is not None and new is not None:
            gain = (old - new) if name in _LOWER_IS_BETTER else (new - old)
            better = "equal" if gain == 0 else "challenger" if gain > 0 else "champion"
        metrics.append(ComparedMetric(name=name, champion=old, challenger=new, better=better))
    return ModelComparison(
        champion=champion[0],
        challenger=challenger[0],
        same_data=same,
        data=words,
        metrics=tuple(metrics),
    )


def same_evaluation(champion: BundleMeta, challenger: BundleMeta) -> tuple[bool, str]:
    """Tell whether two models were measured on the same data.

    Fingerprints decide, not names: proteins in their order, and the labels of those proteins.

    Returns
    -------
    same : bool
        False also where a bundle does not say on what it was measured.
    words : str
        The data, or the difference.
    """
    old, new = champion.eval_data, challenger.eval_data
    if old is None or new is None:
        which = "neither" if old is None and new is None else "only one"
        return False, f"{which} of them says on what it was measured"
    if old.sha256 != new.sha256:
        return False, (
            f"measured on different proteins: the champion on {old.source} (SHA-256 "
            f"{old.sha256[:12]}), the challenger on {new.source} ({new.sha256[:12]})"
        )
    labels = [meta.extra.get(EVAL_LABELS) for meta in (champion, challenger)]
    if None in labels:
        return False, "measured on the same proteins; not both say with which labels"
    if labels[0] != labels[1]:
        return False, "measured on the same proteins with different labels"
    counts = "" if new.n_proteins is None else f"{new.n_proteins:,} proteins of "
    return True, f"measured on the same {counts}{new.source} (SHA-256 {new.sha256[:12]})"
