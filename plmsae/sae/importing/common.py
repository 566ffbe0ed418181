"""What every layout's reader is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.sae.choices import ScaleConvention
from plmsae.sae.config import Arch, SaeConfig
from plmsae.sae.importing.opening import Weights


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What a file may not say itself."""

    k: int | None = None
    """Active latents per vector."""
    arch: Arch | None = None
    """The activation function, where nothing beside the weights says it."""
    layer: int | None = None
    """Which layer's file of a folder that holds several."""
    norm_factor: float | None = None
    """What the training activations were divided by, where the biases still have that unit."""
    convention: ScaleConvention | None = None
    """Where an InterPLM file keeps the scale of its latents, if it is not clear."""

    def need_k(self, path: Path, stored: int | None = None, hint: str = "") -> int:
        """Return k of the file, else the one given; both must agree.

        Raises
        ------
        InputError
            If neither says it, or they differ.
        """
        if stored is not None and (isinstance(stored, bool) or not isinstance(stored, int)):
            raise InputError("k must be a whole number", where=path, value=str(stored))
        if stored is not None and self.k is not None and stored != self.k:
            raise InputError(f"the file says k = {stored}, not {self.k}", where=path)
        k = self.k if stored is None else stored
        if k is None:
            raise InputError("the file does not say k", where=path, hint=f"give --k{hint}")
        return k

    def need_arch(self, path: Path, missing: str) -> Arch:
        """Return the architecture that was given: the weights alone fit several.

        Parameters
        ----------
        missing : str
            The file beside them that would say it.

        Raises
        ------
        InputError
            If none was given.
        """
        if self.arch is None:
            k = "K" if self.k is None else self.k
            raise InputError(
                f"{missing} is missing, so nothing says which activation function these weights "
                "were trained with",
                where=path,
                hint=f"put {missing} beside them, or give --arch topk --k {k}, --arch relu or "
                "--arch jumprelu",
            )
        return self.arch


@dataclass(frozen=True, kw_only=True)
class ImportedSae:
    """What a reader found, in our terms."""

    config: SaeConfig
    """What the SAE computes."""
    tensors: dict[str, Tensor]
    """``W_enc`` (D, F), ``W_dec`` (F, D), ``b_enc`` (F,), ``b_dec`` (D,), ``threshold`` (F,); those
    of a transcoder's decoder have the width of its target."""
    notes: dict[str, Any] = field(default_factory=dict)
    """JSON-ready facts on where it comes from and how it was read."""
    per_latent: dict[str, Tensor] = field(default_factory=dict)
    """What the file says of each latent, (F,), for example ``max_activation``."""


@dataclass(frozen=True, kw_only=True)
class SaeFormat:
    """One layout: how to recognise it in a folder and in a file, and how to read it.

    Each module of `sae.importing.formats` declares one as `FORMAT`. The module's name is the
    layout's, in options and in what is stored.
    """

    rank: int
    """Place in the order in which layouts are tried: those with the most particular names of files
    and tensors first (the smallest number). The first that fits is taken."""
    find: Callable[[Path, ImportOptions], Path | None]
    """The weights file of this layout in a folder, or None."""
    fits: Callable[[Weights], bool]
    """Whether the names of the tensors are this layout's."""
    read: Callable[[Weights, ImportOptions], ImportedSae]
    """What the file holds, in our terms."""


def whole(value: object, name: str, path: Path) -> int:
    """Return a positive whole number of a configuration."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} must be a positive whole number", where=path, value=str(value))
    return value


def without_prefix(weights: Weights, name: str) -> str | None:
    """Return what stands before `name` in the names of the tensors (Lightning's ``ae.``, say)."""
    found = [n.removesuffix(name) for n in weights.names if n.endswith(name)]
    found = [p for p in found if p == "" or p.endswith(".")]
    return min(found, key=len) if found else None
