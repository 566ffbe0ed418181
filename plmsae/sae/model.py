"""Building and loading SAEs of every architecture."""

from __future__ import annotations

from pathlib import Path

import torch

from plmsae.sae import formats
from plmsae.sae.architecture import ARCHITECTURES
from plmsae.sae.base import Sae
from plmsae.sae.config import SaeConfig

__all__ = ["Sae", "build_sae", "load_sae"]


def build_sae(config: SaeConfig, *, seed: int = 0) -> Sae:
    """Return a new, untrained SAE on the CPU."""
    sae: Sae = ARCHITECTURES[config.arch].sae(config, seed=seed)
    return sae


def load_sae(folder: Path | str, *, device: str | torch.device = "cpu") -> Sae:
    """Load a stored SAE as what it was.

    Parameters
    ----------
    folder : Path or str
        A folder with ``cfg.json`` and ``sae_weights.safetensors``, ours or written by SAELens.
    device : str or torch.device
        Where to put it.

    Raises
    ------
    InputError
        If a file is missing, malformed, or contradicts the other.
    """
    config, tensors = formats.read_sae(Path(folder))
    sae = build_sae(config)
    sae.take_tensors(tensors)
    return sae.to(device).eval()
