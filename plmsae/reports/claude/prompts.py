"""The prompts of ``registry/prompts``: versioned files, so that a report can say what was asked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import yaml

from plmsae.core.resources import registry_path

PROMPTS = ("describe_feature", "predict_activations")
"""File names without suffix."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Instructions to Claude."""

    name: str
    """Under which MLflow's prompt registry knows it."""
    version: int
    """Raised with every change of the text."""
    text: str

    @property
    def sha256(self) -> str:
        """Of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load_prompt(name: str) -> Prompt:
    """Read one of `PROMPTS`."""
    path = registry_path(f"prompts/{name}.yaml")
    return Prompt(**yaml.safe_load(path.read_text(encoding="utf-8")))
