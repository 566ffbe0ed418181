"""Names of registered models, and the ways a user may point at one.

A model is called ``plmsae.<plm>.L<layer>.<unit>``. In place of ``L4`` a transcoder has ``L4-L5``
where it gives layer 5, and ``L4-L5-change`` where it gives what the blocks up to layer 5 add.

A user writes ``NAME@alias``, ``NAME/3``, ``NAME`` (its champion), any of these after ``models:/``,
or ``models:/m-…`` (a logged model).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

from plmsae.core.errors import InputError
from plmsae.encode import Unit
from plmsae.plm.catalogue import read_catalogue
from plmsae.sae.config import TARGETS

PREFIX = "plmsae"
UNITS: tuple[str, ...] = get_args(Unit)
DEFAULT_ALIAS = "champion"

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")
_MODEL_ID = re.compile(r"m-[0-9a-zA-Z]{8,64}\Z")
_REF = re.compile(r"(?P<name>[^/@:\s]+)(?:@(?P<alias>[^/@:\s]+)|/(?P<version>[0-9]+))?\Z")


@lru_cache(maxsize=1)
def _catalogue_names() -> dict[str, str]:
    """Map every hub id of the catalogue (and every short name) to its short name."""
    listed = read_catalogue()
    names = {short: short for short in listed}
    names.update({entry["hub_id"]: short for short, entry in listed.items() if "hub_id" in entry})
    return names


def plm_slug(plm: str) -> str:
    """Return the short name of a PLM: the catalogue's, or one made from its id.

    Parameters
    ----------
    plm : str
        A catalogue name, a hub id (``facebook/esm2_t6_8M_UR50D``) or a local folder. Of a folder
        only the last part is used: a registered name must not tell where a user keeps files.

    Returns
    -------
    str
        Lower-case letters, digits, ``-`` and ``_``. ``org/Name.v2`` becomes ``org--name-v2``.

    Raises
    ------
    InputError
        If nothing is left to make a name of.
    """
    short = _catalogue_names().get(plm)
    if short:
        return short
    is_hub_id = re.fullmatch(r"[\w.-]+/[\w.-]+", plm) and not plm.startswith(".")
    parts = plm.split("/") if is_hub_id else [re.split(r"[/\\]", plm.rstrip("/\\"))[-1]]
    slugs = [re.sub(r"[^a-z0-9_]+", "-", part.lower()).strip("-_") for part in parts]
    slug = "--".join(part for part in slugs if part)
    if not slug:
        raise InputError("cannot make a model name from this PLM", value=plm)
    return slug


def model_name(
    plm: str, layer: int, unit: str, *, target: str = "input", target_layer: int | None = None
) -> str:
    """Return the registered name.

    Parameters
    ----------
    target : str
        One of `plmsae.sae.config.TARGETS`: a transcoder's is ``layer`` or ``change``.
    target_layer : int, optional
        The layer that a transcoder gives, or up to which it gives the change.

    Raises
    ------
    InputError
        If `layer` is negative, `unit` or `target` is unknown, or `target_layer` is not above
        `layer`, is missing, or is given without a transcoder.
    """
    if layer < 0:
        raise InputError("a layer is 0 (embeddings) or above", value=str(layer))
    if unit not in UNITS:
        raise InputError(f"unit must be one of {', '.join(UNITS)}", value=unit)
    place = f"L{layer}"
    if target not in TARGETS:
        raise InputError(f"target must be one of {', '.join(TARGETS)}", value=target)
    if (target_layer is None) != (target == "input"):
        raise InputError(
            "a transcoder, and nothing else, has a target layer", value=f"{target}, {target_layer}"
        )
    if target_layer is not None:
        if target_layer <= layer:
            raise InputError(
                f"a transcoder of layer {layer} needs a layer above it", value=str(target_layer)
            )
        place += f"-L{target_layer}" + ("-change" if target == "change" else "")
    return f"{PREFIX}.{plm_slug(plm)}.{place}.{unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a user's model reference asks for: either `model_id`, or `name` with one of the rest."""

    name: str = ""
    """Registered name; empty when `model_id` is given."""
    alias: str | None = None
    """An alias of that name (without ``@``)."""
    version: str | None = None
    """A version of that name, as digits."""
    model_id: str | None = None
    """The id of a logged model (``m-…``)."""


def parse_reference(text: str) -> Reference:
    """Read a reference to a registered model (not to a folder).

    Raises
    ------
    InputError
        If it is none of the forms above.
    """
    body = text.removeprefix("models:/").lstrip("/")
    if _MODEL_ID.match(body):
        return Reference(model_id=body)
    match = _REF.match(body)
    if not match or not body.isprintable() or len(body) > 500:
        raise InputError(
            "not a model reference",
            value=text,
            hint="write NAME@champion, NAME/3, models:/NAME@alias or a bundle folder",
        )
    alias, version = match["alias"], match["version"]
    if alias is None and version is None:
        alias = DEFAULT_ALIAS
    return Reference(name=match["name"], alias=alias, version=version)


def is_model_id(text: str) -> bool:
    """Tell whether `text` is the id of a logged model: safe to use as a folder name."""
    return bool(_MODEL_ID.match(text))


def is_slug(text: str) -> bool:
    """Tell whether `text` is a plain lower-case name: safe to use as a file name."""
    return bool(_SLUG.match(text))
