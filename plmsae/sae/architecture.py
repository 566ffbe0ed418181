"""What an architecture declares of itself, and all of them by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from plmsae.core.plugins import Plugins


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One way of choosing the active latents; each module of `sae.architectures` declares one."""

    sae: Any
    """Its class, a subclass of `plmsae.sae.base.Sae`."""
    saelens_name: str
    """What SAELens calls the class that computes the same function."""
    is_saelens_class: bool = False
    """Whether a file of that name that does not say what it was is one of this architecture."""
    needs_k: bool = False
    """Whether it keeps a number of latents by construction; the others are pressed towards one."""
    n_levels: int = 0
    """How many levels it has by default, each half of the next one; 0 if it knows no levels."""
    levels_of: Literal["d_sae", "k"] = "d_sae"
    """The field of the configuration that its last level equals."""
    one_threshold: bool = False
    """Whether the stored thresholds of all latents are the same."""


ARCHITECTURES: Plugins[Architecture] = Plugins("plmsae.sae.architectures", "ARCHITECTURE")
"""By the name that a configuration calls them."""
