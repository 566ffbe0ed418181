"""Whether a foreign SAE is of the PLM and the layer that the user says."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.bundle.naming import plm_slug
from plmsae.core.errors import InputError
from plmsae.plm.catalogue import read_catalogue
from plmsae.plm.facts import PlmFacts
from plmsae.sae.importing.published import find_published, resembling
from plmsae.workflows.shared.requests import ImportRequest

if TYPE_CHECKING:
    from plmsae.sae.base import Sae

logger = logging.getLogger(__name__)


def check_names(folder: Path, request: ImportRequest) -> None:
    """Compare the layer asked for with what the names of file and folders say.

    Raises
    ------
    InputError
        If a folder is called ``layer_5`` and layer 4 was asked for, or the folder is a published
        repository that has no such layer, or that is of another PLM of the catalogue.
    """
    layer = request.layer
    for part in (folder, folder.parent) if folder.is_file() else (folder,):
        named = re.fullmatch(r"layer_(\d+)", part.resolve().name)
        if named and int(named[1]) != layer:
            raise InputError(
                f"the folder is called {part.resolve().name}",
                where="--layer",
                value=str(layer),
                hint=f"give --layer {named[1]}",
            )
    if (known := find_published(folder.resolve(), request.name)) is not None:
        slug = plm_slug(request.plm)
        if request.check_fit and slug != known.plm and slug in read_catalogue():
            raise InputError(
                f"{known.hub_id} was trained on {known.plm}",
                where="--plm",
                value=request.plm,
                hint=f"give --plm {known.plm}, or --no-check-fit to import it anyway",
            )
        known.check_layer(layer)


def check_fit(sae: Sae, origin: Mapping[str, Any], request: ImportRequest, facts: PlmFacts) -> None:
    """Compare what the file holds with the PLM, the layer and the target that were given.

    Raises
    ------
    InputError
        If a width, a layer or the need of a target does not fit.
    """
    _check_target(sae, origin, request, facts)
    _check_normalisation(sae, request)
    if sae.config.d_in != facts.d_model:
        raise InputError(
            f"the SAE takes {sae.config.d_in} values per residue, {facts.id} gives {facts.d_model}",
            where=origin["file"],
            hint="give --plm the one it was trained on",
        )
    stored = origin.get("layer")
    if isinstance(stored, int) and stored != request.layer:
        hook = f" ({origin['hook']})" if "hook" in origin else ""
        raise InputError(
            f"the file is of layer {stored}{hook}",
            where="--layer",
            value=str(request.layer),
            hint=f"give --layer {stored}",
        )
    block = origin.get("hook_layer")
    if isinstance(block, int) and request.layer not in (block, block + 1):
        raise InputError(
            f"the file is of block {block}, counted from 0, so of layer {block} or {block + 1}",
            where="--layer",
            value=str(request.layer),
        )
    _warn_of_conventions(origin, request, facts)


def _check_normalisation(sae: Sae, request: ImportRequest) -> None:
    """Refuse a copy of a published SAE that was read with another normalisation than it had."""
    folder = request.folder or request.from_
    known = find_published(Path() if folder is None else folder.resolve(), request.name)
    if known is not None and request.check_fit and sae.config.input_norm != known.input_norm:
        raise InputError(
            f"{known.hub_id} reads activations with the normalisation {known.input_norm}, these "
            f"files say {sae.config.input_norm}",
            where=folder,
            hint="is it that repository, unchanged? --no-check-fit imports it anyway",
        )


def _warn_of_conventions(
    origin: Mapping[str, Any], request: ImportRequest, facts: PlmFacts
) -> None:
    """Say what no file proves and its numbers would not show."""
    folder = request.folder or request.from_
    source = Path() if folder is None else folder.resolve()
    known = find_published(source, request.name)
    if known is None and "layer" not in origin:
        known = resembling(origin["format"], facts.id, source)
        if known is not None and request.layer not in known.layers:
            logger.warning(
                "%s has this layout too, and what its name calls layer %s is layer %s here; if "
                "this is a copy of it, --layer %d is wrong",
                known.hub_id,
                ", ".join(map(str, known.named or known.layers)),
                ", ".join(map(str, known.layers)),
                request.layer,
            )
    before = (known is not None and not known.final_norm) or "hook" in origin
    if before and request.layer == facts.n_layers:
        logger.warning(
            "it was trained on what the last block of %s gives; layer %d is read here after the "
            "final norm, so its latents will differ",
            facts.id,
            facts.n_layers,
        )


def _check_target(
    sae: Sae, origin: Mapping[str, Any], request: ImportRequest, facts: PlmFacts
) -> None:
    """Ask for the layer that a transcoder gives: no file says it by our numbers."""
    given = request.target_layer
    if not sae.config.is_transcoder:
        if given is not None:
            raise InputError("only a transcoder has one", where="--target-layer", value=str(given))
        return
    if given is None:
        raise InputError(
            "a transcoder; the file does not say which layer it gives",
            where=origin["file"],
            hint="give --target-layer",
        )
    facts.check_layer(given, option="--target-layer")
    if given <= request.layer:
        raise InputError(
            f"a transcoder of layer {request.layer} needs a layer above it",
            where="--target-layer",
            value=str(given),
        )
    if sae.config.d_target != facts.d_model:
        raise InputError(
            f"the transcoder gives {sae.config.d_target} numbers per residue, {facts.id} has "
            f"{facts.d_model}",
            where=origin["file"],
            hint="give --plm the one it was trained on",
        )
