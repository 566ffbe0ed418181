"""Which PLMs have a short name, and where they come from (``registry/plms.yaml``)."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from plmsae.core.errors import NotFoundError
from plmsae.core.resources import registry_path

logger = logging.getLogger(__name__)

_PACKAGED = "package:"
#: The subfolder that ``plmsae pretrain`` writes the finished PLM to.
_WRITTEN = "model"

#: Whose licence was logged in this process.
_announced: set[CatalogueEntry] = set()


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
    licence : str or None
        Of the weights; None where the catalogue does not list the PLM.
    non_commercial : bool
        Whether the licence allows non-commercial use only.
    """

    name: str
    source: str
    revision: str | None
    licence: str | None = None
    non_commercial: bool = False


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
        return _of_hub(name, entry, revision or entry.get("revision"))
    local = _local_folder(name)
    if local is not None:
        called = local.parent.name if local.name == _WRITTEN else local.name
        return CatalogueEntry(name=called, source=str(local), revision=None)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        listed = [e for e in plms.values() if str(e.get("hub_id")).lower() == name.lower()]
        return _of_hub(name, {**dict(*listed), "hub_id": name}, revision)
    raise NotFoundError(
        "no such PLM",
        where="--plm",
        value=name,
        hint=f"give one of {', '.join(plms)}, a folder, or a hub id such as owner/model; a PLM of "
        "your own is found by its name in the folders of PLMSAE_PLMS",
    )


def _of_hub(name: str, listed: dict[str, Any], revision: str | None) -> CatalogueEntry:
    return CatalogueEntry(
        name=name,
        source=listed["hub_id"],
        revision=revision,
        licence=listed.get("licence"),
        non_commercial=bool(listed.get("non_commercial")),
    )


def announce_licence(entry: CatalogueEntry) -> None:
    """Log the licence of a PLM of the hub, once, if its weights are not on this machine yet."""
    if entry.licence is None or entry in _announced:
        return
    from huggingface_hub import try_to_load_from_cache

    for name in ("model.safetensors", "model.safetensors.index.json"):
        if isinstance(try_to_load_from_cache(entry.source, name, revision=entry.revision), str):
            return
    _announced.add(entry)
    use = ": for non-commercial use only" if entry.non_commercial else ""
    logger.warning("%s (%s) has the licence %s%s", entry.name, entry.source, entry.licence, use)


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
