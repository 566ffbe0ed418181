"""The SAEs that others published (``registry/saes.yaml``) and how they count layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePath

import yaml

from plmsae.core.errors import InputError
from plmsae.core.resources import registry_path


@dataclass(frozen=True, kw_only=True)
class Published:
    """One public repository of SAEs, on the Hugging Face hub or on GitHub."""

    hub_id: str
    """``owner/name``."""
    plm: str
    """Catalogue name of the PLM."""
    format: str
    """Layout of its files."""
    layers: tuple[int, ...]
    """The layers it holds, by our numbers."""
    named: dict[int, int] = field(default_factory=dict)
    """A layer's number in their names → our layer, where they differ."""
    hook: str
    """Where the activations were taken, in its authors' words."""
    final_norm: bool
    """Whether the PLM's last layer was taken after its final norm, as here."""
    input_norm: str
    """What is done to an activation before the encoder."""
    source: str
    """What this was read from."""
    checked: str
    """``code`` or ``paper``."""

    def check_layer(self, layer: int) -> None:
        """Raise `InputError` if it holds no such layer; with ours, if `layer` is theirs."""
        if layer in self.layers:
            return
        if layer in self.named:
            ours = self.named[layer]
            raise InputError(
                f"{self.hub_id} counts from 0: its {layer} ({self.hook}) is layer {ours} here",
                where="--layer",
                value=str(layer),
                hint=f"give --layer {ours}",
            )
        held = ", ".join(map(str, self.layers))
        raise InputError(
            f"{self.hub_id} holds no SAE of this layer",
            where="--layer",
            value=str(layer),
            hint=f"it has {held}",
        )


@cache
def published() -> tuple[Published, ...]:
    """Return the table, in the order of the file."""
    text = registry_path("saes.yaml").read_text(encoding="utf-8")
    return tuple(
        Published(**{**entry, "layers": tuple(entry["layers"])})
        for entry in yaml.safe_load(text)["saes"]
    )


def find_published(source: PurePath, name: str | None = None) -> Published | None:
    """Return the repository that a file or folder is a copy of, told by its name.

    Parameters
    ----------
    source : Path
        As the hub's cache (``models--owner--name``), ``git clone`` or a user names it.
    name : str, optional
        What the user calls it: a hub id counts too.
    """
    parts = {part.casefold() for part in source.parts}
    for known in published():
        owner, _, short = known.hub_id.casefold().partition("/")
        if parts & {short, f"models--{owner}--{short}", f"{owner}_{short}", f"{owner}--{short}"}:
            return known
        if name is not None and name.casefold() == known.hub_id.casefold():
            return known
    return None


def resembling(format: str, plm: str, source: Path) -> Published | None:
    """Return the one published repository of a layout and a PLM that `source` may be a copy of."""
    found = [known for known in published() if (known.format, known.plm) == (format, plm)]
    if len(found) != 1 or find_published(source) is not None:
        return None
    return found[0]
