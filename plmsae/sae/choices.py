"""Closed choices of how SAEs and their activations are stored. Imports nothing heavy."""

from __future__ import annotations

from typing import Literal

CacheDtype = Literal["float16", "bfloat16", "float32"]
"""How an activation cache stores its numbers."""
ScaleConvention = Literal["folded", "buffer", "raw"]
"""Where an InterPLM file keeps the scale of latents: in the weights, a buffer, or nowhere."""
