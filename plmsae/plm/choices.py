"""Closed choices of how a PLM is run. Imports nothing heavy."""

from __future__ import annotations

from typing import Literal

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
FillOrder = Literal["one-shot", "sequential"]
"""How masked residues are filled: all from one prediction, or one after another."""
