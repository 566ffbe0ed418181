"""What a training recipe may say: the settings of an SAE and of its training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from plmsae.core.settings import Setting, read_settings
from plmsae.sae.config import SaeConfig, TrainConfig


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """What the workflow itself reads in a recipe."""

    about: str = ""
    """What the recipe is for."""
    target_layer: int | None = None
    """Layer that a transcoder reconstructs, or to which it gives the change."""


# Widths follow from the PLM; how inputs are normalised matters for SAEs that others trained.
_NOT_OF_SAE = ("d_in", "d_out", "apply_b_dec_to_input", "input_norm")
# A recipe counts in vectors; the device is that of the request.
_NOT_OF_TRAINING = ("steps", "device")

SAE_KEYS = {s.name: s for s in read_settings(SaeConfig) if s.name not in _NOT_OF_SAE}
TRAIN_KEYS = {
    # Without `steps`, the number of vectors must be there.
    s.name: dataclasses.replace(s, optional=s.optional and s.name != "n_vectors")
    for s in read_settings(TrainConfig)
    if s.name not in _NOT_OF_TRAINING
}
KEYS = {s.name: s for s in read_settings(RecipeConfig)} | SAE_KEYS | TRAIN_KEYS
"""Everything a recipe may say, by name."""

_OF_REQUEST = ("about", "k", "seed")
"""Keys that a request to train has fields for, or no use."""


def recipe_overrides() -> list[Setting]:
    """Return the recipe values that a request to train may replace; None keeps the recipe's."""
    return [
        dataclasses.replace(
            setting, optional=True, default=None, doc=f"{setting.doc} By default the recipe's."
        )
        for name, setting in KEYS.items()
        if name not in _OF_REQUEST
    ]
