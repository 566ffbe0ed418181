"""A feature to steer with: which latent, at which residues, and what it is compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import torch
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.encode import Encoder
from plmsae.steering.clamp import clamp, latent_values
from plmsae.steering.controls import (
    Control,
    decoder_direction,
    latent_scale,
    make_controls,
    redirected,
)
from plmsae.steering.prompt import Prompt


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One latent and its controls.

    Attributes
    ----------
    encoder : Encoder
    latent : int
    scale : float
        The latent's `max_activation` in the bundle; a value of 1 stands for it.
    controls : tuple of Control
    """

    encoder: Encoder
    latent: int
    scale: float
    controls: tuple[Control, ...]

    @cached_property
    def direction_D(self) -> Tensor:
        """Where the latent writes, of length 1."""
        return decoder_direction(self.encoder.sae, self.latent)

    def activations(self, prompt: Prompt) -> Tensor:
        """Return the latent's activations as shares of its maximum, (L,)."""
        return latent_values(self.encoder.sae.encode(prompt.x_LD), self.latent) / self.scale

    def change(self, prompt: Prompt, value: float, positions: Sequence[int]) -> Tensor:
        """Return what setting the latent at 1-based positions adds to layer L, (L, D).

        Raises
        ------
        InputError
            If the value is negative or not finite.
        """
        check_value(value)
        rows = torch.tensor([p - 1 for p in positions], device=prompt.x_LD.device)
        x_MD = prompt.x_LD[rows]
        change_LD = torch.zeros_like(prompt.x_LD)
        change_LD[rows] = clamp(self.encoder.sae, x_MD, self.latent, value * self.scale) - x_MD
        return change_LD

    def versions(self, prompt: Prompt, change_LD: Tensor) -> list[Tensor]:
        """Return layer L changed by the feature, then by each control at the same size."""
        others = redirected(change_LD, self.direction_D, self.controls)
        return [prompt.x_LD + change for change in (change_LD, *others)]

    @property
    def kinds(self) -> list[tuple[str, int]]:
        """What each of `versions` is: ``feature``, ``latent`` or ``direction``, and its number."""
        return [("feature", self.latent), *((c.kind, c.number) for c in self.controls)]


def check_value(value: float) -> None:
    """Raise `InputError` unless a latent can have such a value."""
    if not (math.isfinite(value) and value >= 0):
        raise InputError(
            "a latent is 0 or more; the unit is its max_activation in the bundle",
            where="--value",
            value=str(value),
        )


def open_feature(
    encoder: Encoder, features: pl.DataFrame, latent: int, *, n_controls: int = 10, seed: int = 0
) -> Feature:
    """Find a latent's scale and draw its controls.

    Parameters
    ----------
    features : polars.DataFrame
        The bundle's ``features.parquet``.
    n_controls : int
        Of each kind.

    Raises
    ------
    NotFoundError
        If there is no such latent, or it is dead.
    """
    scale = latent_scale(features, latent)
    controls = make_controls(encoder.sae, features, latent, n_controls, seed=seed)
    return Feature(encoder=encoder, latent=latent, scale=scale, controls=tuple(controls))
