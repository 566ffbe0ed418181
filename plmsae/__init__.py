"""plmsae: sparse autoencoders for protein language models, tracked and registered in MLflow.

The public names below are imported when they are first used, so that ``import plmsae`` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    **dict.fromkeys(("load", "Model"), "plmsae.api.model"),
    "load_plm": "plmsae.plm.model",
    "load_sae": "plmsae.sae.model",
    **dict.fromkeys(
        ("train", "evaluate", "score", "features", "fill", "validate", "report"),
        "plmsae.api.workflows",
    ),
}
"""Public names, each with the module that holds it."""

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'plmsae' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
