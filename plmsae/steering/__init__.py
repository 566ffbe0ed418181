"""Change a latent in the middle of a forward pass and see what the PLM then predicts."""

from __future__ import annotations

from plmsae.steering.ablate import ablate
from plmsae.steering.clamp import clamp
from plmsae.steering.dose_response import dose_response, larger_than, predictions
from plmsae.steering.feature import Feature, open_feature
from plmsae.steering.generate import generate
from plmsae.steering.prompt import Prompt, open_prompt

__all__ = [
    "Feature",
    "Prompt",
    "ablate",
    "clamp",
    "dose_response",
    "generate",
    "larger_than",
    "open_feature",
    "open_prompt",
    "predictions",
]
