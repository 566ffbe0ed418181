"""Building and loading SAEs of every architecture."""

from __future__ import annotations

from pathlib import Path

import torch

from plmsae.sae import formats
from plmsae.sae.architectures.batchtopk import BatchTopK
from plmsae.sae.architectures.hierarchical import HierarchicalTopK
from plmsae.sae.architectures.jumprelu import JumpReLU
from plmsae.sae.architectures.matryoshka import Matryoshka
from plmsae.sae.architectures.relu import ReLU
from plmsae.sae.architectures.topk import TopK
from plmsae.sae.base import Sae
from plmsae.sae.config import SaeConfig

__all__ = ["Sae", "build_sae", "load_sae"]

_CLASSES: dict[str, type[Sae]] = {
    "topk": TopK,
    "batchtopk": BatchTopK,
    "relu": ReLU,
    "jumprelu": JumpReLU,
    "matryoshka": Matryoshka,
    "hierarchical": HierarchicalTopK,
}


def build_sae(config: SaeConfig, *, seed: int = 0) -> Sae:
    """Return a new, untrained SAE on the CPU."""
    return _CLASSES[config.arch](config, seed=seed)


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
