"""A random ESM of three blocks and SAEs of its layers, small enough for any test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plmsae.encode import Encoder
from plmsae.plm.model import load_plm
from plmsae.sae.config import SaeConfig
from plmsae.sae.model import build_sae

SEQUENCE = "MKTAYIAKQRQISFVKSHFSRQLEERLG"
D_SAE = 24


def make_encoder(folder: Path, *, layer: int = 2, **config: Any) -> Encoder:
    settings = {"arch": "topk", "d_in": 16, "d_sae": D_SAE, "k": 4, **config}
    plm = load_plm(str(folder), device="cpu", head=True)
    return Encoder(plm, layer, build_sae(SaeConfig(**settings), seed=1))
