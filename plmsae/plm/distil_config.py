"""Settings of a distillation."""

from __future__ import annotations

from dataclasses import dataclass

from plmsae.core.settings import NonNegativeFloat, NonNegativeInt, Share, check_settings


@dataclass(frozen=True, kw_only=True)
class DistilConfig:
    """Weights of the parts of the loss, and who gives a block its input."""

    state_weight: NonNegativeFloat = 1.0
    """Weight of the fraction of variance of the teacher's states that is unexplained: the mean over
    all layers, the embedding included."""
    kl_weight: NonNegativeFloat = 0.3
    """Weight of the Kullback-Leibler divergence from the teacher's predictions of masked residues,
    in nats; 0 where the teacher has no head."""
    true_weight: NonNegativeFloat = 0.0
    """Weight of the cross-entropy of the true residues there."""
    forced_steps: NonNegativeInt = 0
    """Number of first steps in which each block of the student runs on the teacher's states of the
    layer below and learns by itself; afterwards the student runs on its own states."""
    forced_share: Share = 1.0
    """Share of the rows for which that is so in these steps."""

    def __post_init__(self) -> None:
        check_settings(self)
