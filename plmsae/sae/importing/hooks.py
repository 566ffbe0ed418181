"""Which layer a hook point is, by our numbers: layer L is the residual stream after block L.

TransformerLens (and SAELens, which follows it) counts blocks from 0 and reads before or after one;
sparsify names the module whose output it reads, as PyTorch does. Both are read here, so that no
file is taken for the layer next to its own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from plmsae.core.errors import InputError

# TransformerLens: the residual stream before and after block N, and the embedding output.
_RESIDUAL = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")
# PyTorch: the output of block N of a list of blocks. `output` is the last step of a block of
# Hugging Face's ESM, after both residual connections.
_MODULE = re.compile(r"(?:[A-Za-z_]\w*\.)*(?:layers?|blocks|h)\.(\d+)(?:\.output)?")
_EMBEDDING = re.compile(r"(?:hook_embed|(?:[A-Za-z_]\w*\.)*embeddings)")
# Anything inside a block: an attention head, an MLP, the middle of the residual stream.
_INSIDE = re.compile(r"(?:[A-Za-z_]\w*\.)*(?:layers?|blocks|h)\.(\d+)\.(.+)")


def layer_of_hook(name: str, where: Path) -> int | None:
    """Return the layer that a hook point is; None if `name` is of no convention known here.

    Parameters
    ----------
    name : str
        ``blocks.3.hook_resid_post``, ``esm.encoder.layer.3.output`` or ``layers.3``, all of them
        layer 4.
    where : Path
        The file that says it, for messages.

    Raises
    ------
    InputError
        If the hook point is not the residual stream between blocks.

    Examples
    --------
    >>> layer_of_hook("blocks.3.hook_resid_pre", Path("cfg.json"))
    3
    """
    if match := _RESIDUAL.fullmatch(name):
        return int(match[1]) + (match[2] == "post")
    if match := _MODULE.fullmatch(name):
        return int(match[1]) + 1
    if _EMBEDDING.fullmatch(name):
        return 0
    if _INSIDE.fullmatch(name) or name.rpartition(".")[2].startswith("hook_"):
        raise InputError(
            "it was not trained on the residual stream between blocks, the only place read here",
            where=where,
            value=name,
        )
    return None


def hook_facts(cfg: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return ``hook`` and ``layer`` as a SAELens configuration gives them, where it does.

    Version 6 keeps the hook point in ``metadata``; before, it stood beside the rest, together with
    ``hook_layer`` (and before that as ``hook_point`` and ``hook_point_layer``).

    Raises
    ------
    InputError
        If it is one attention head, not the residual stream, or the block of the name is not that
        of the number.
    """
    metadata = cfg.get("metadata")
    places = [metadata, cfg] if isinstance(metadata, dict) else [cfg]

    def first(*keys: str) -> Any:
        found = (place[key] for place in places for key in keys if place.get(key) is not None)
        return next(found, None)

    if (head := first("hook_head_index", "hook_point_head_index")) is not None:
        raise InputError(
            "activations of one attention head are not read", where=path, value=f"{head}"
        )
    name, number = first("hook_name", "hook_point"), first("hook_layer", "hook_point_layer")
    if isinstance(name, str):
        layer = layer_of_hook(name, path)
        block = re.search(r"\.(\d+)\.", f".{name}.")
        if isinstance(number, int) and block is not None and int(block[1]) != number:
            raise InputError(
                f"hook_layer says {number}, hook_name another block", where=path, value=name
            )
        return {"hook": name} if layer is None else {"hook": name, "layer": layer}
    # A number alone leaves open whether the stream is read before or after that block.
    return {"hook_layer": number} if isinstance(number, int) else {}
