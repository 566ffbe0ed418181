"""Where the reviewed registry files lie, and where downloads are kept."""

from __future__ import annotations

import os
from pathlib import Path

from plmsae.core.errors import NotFoundError

_PACKAGE = Path(__file__).resolve().parents[1]

READY = "ready"
"""What a user writes in place of a reference for the model that comes with plmsae."""


def ready_model() -> Path:
    """Return the folder of the model that comes with plmsae, a bundle.

    Its SAE and callers belong to plmsae-mini; ``data/README.md`` says how it is made.

    Raises
    ------
    NotFoundError
        If this installation lacks it.
    """
    folder = _PACKAGE / "data" / "ready"
    if not folder.is_dir():
        raise NotFoundError("the model that comes with plmsae is missing", where=folder)
    return folder


def registry_path(name: str) -> Path:
    """Return the path of a file or folder under ``registry/`` (for example ``plms.yaml``).

    Raises
    ------
    NotFoundError
        If neither the installed package nor the checkout holds it.
    """
    for root in (_PACKAGE / "_registry", _PACKAGE.parent / "registry"):
        path = root / name
        if path.exists():
            return path
    raise NotFoundError(f"registry file {name!r} is missing from this installation", where=_PACKAGE)


def cache_folder() -> Path:
    """Return where downloads are kept: ``PLMSAE_CACHE``, or ``plmsae`` in the user's cache.

    The user's cache is ``XDG_CACHE_HOME``, or ``~/.cache``. The folder is not created here; that
    is done when something is downloaded.
    """
    given = os.environ.get("PLMSAE_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "plmsae"
