"""Where the reviewed registry files lie: inside the wheel, or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

from plmsae.core.errors import InputError

_PACKAGE = Path(__file__).resolve().parents[1]


def registry_path(name: str) -> Path:
    """Return the path of a file or folder under ``registry/`` (for example ``plms.yaml``).

    Raises
    ------
    InputError
        If neither the installed package nor the checkout holds it.
    """
    for root in (_PACKAGE / "_registry", _PACKAGE.parent / "registry"):
        path = root / name
        if path.exists():
            return path
    raise InputError(f"registry file {name!r} is missing from this installation", where=_PACKAGE)
