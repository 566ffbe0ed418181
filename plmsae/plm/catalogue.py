"""Which PLMs have a short name, and where they come from (``registry/plms.yaml``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from plmsae.core.errors import InputError
from plmsae.core.resources import registry_path

_PACKAGED = "package:"
#: The subfolder that ``plmsae pretrain`` writes the finished PLM to.
_WRITTEN = "model"


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One PLM of the catalogue.

    Attributes
    ----------
    name : str
        Short name, for example ``esm2-8m``.
    source : str
        A hub id, or the path of a folder.
    revision : str or None
        Hub revision; None for a folder.
    """

    name: str
    source: str
    revision: str | None


def find_plm(name: str, revision: str | None = None) -> CatalogueEntry:
    """Return where the PLM called `name` comes from.

    Parameters
    ----------
    name : str
        A catalogue name, a local folder, the name of one in a folder of ``PLMSAE_PLMS`` (or in the
        working folder or its ``runs``), or a hub id (``owner/model``). What ``plmsae pretrain``
        wrote to ``runs/mine/model`` is called ``mine``.
    revision : str, optional
        Hub revision; overrides the catalogue's.

    Raises
    ------
    InputError
        If `name` is none of the three.
    """
    plms = yaml.safe_load(registry_path("plms.yaml").read_text(encoding="utf-8"))["plms"]
    if name in plms:
        entry = plms[name]
        path = str(entry.get("path", ""))
        if path.startswith(_PACKAGED):
            folder = Path(__file__).resolve().parents[1] / path.removeprefix(_PACKAGED)
            return CatalogueEntry(name=name, source=str(folder), revision=None)
        return CatalogueEntry(
            name=name, source=entry["hub_id"], revision=revision or entry.get("revision")
        )
    local = _local_folder(name)
    if local is not None:
        called = local.parent.name if local.name == _WRITTEN else local.name
        return CatalogueEntry(name=called, source=str(local), revision=None)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return CatalogueEntry(name=name, source=name, revision=revision)
    raise InputError(
        "no such PLM",
        where="--plm",
        value=name,
        hint=f"give one of {', '.join(plms)}, a folder, or a hub id such as owner/model; a PLM of "
        "your own is found by its name in the folders of PLMSAE_PLMS",
    )


def _local_folder(name: str) -> Path | None:
    """Return the folder of a PLM of the user's own, or None."""
    places = [Path(name)]
    if Path(name).name == name:
        roots = os.environ.get("PLMSAE_PLMS", "").split(os.pathsep)
        places += [Path(root) / name for root in [*filter(None, roots), "runs"]]
    for place in places:
        for folder in (place, place / _WRITTEN):
            if (folder / "config.json").is_file():
                return folder.resolve()
    return places[0].resolve() if places[0].is_dir() else None
