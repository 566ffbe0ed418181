"""Writing the site: a folder whose pages load data piece by piece, and one file that holds it all.

``index.html`` opens from a file or a server. ``atlas.html`` holds scripts, styles and data itself:
MLflow shows an HTML artifact alone, in a frame that can load nothing beside it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plmsae.atlas.chunks import chunk_script, pack
from plmsae.core.atomic import atomic_folder
from plmsae.core.errors import InputError

STATIC = Path(__file__).parent / "static"
"""The built front end; its source is in ``frontend/``."""

LATENTS_PER_CHUNK = 16
PROTEINS_PER_CHUNK = 4
SINGLE_FILE_LIMIT = 40_000_000
"""Bytes of ``atlas.html``: MLflow shows no artifact above 50 MB. Proteins that do not fit are left
out of it, and the page says so."""

MARK = "atlas.json"
"""What the folder was made from; only a folder that holds it is written over."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{title}</title>
{style}
</head>
<body>
<div id="app"><p>Loading the atlas …</p><noscript>The atlas needs JavaScript.</noscript></div>
{body}
</body>
</html>
"""


def write_site(
    out: Path,
    *,
    index: Mapping[str, Any],
    latents: Sequence[Mapping[str, Any] | None],
    proteins: Sequence[Mapping[str, Any]],
    compared: Sequence[Mapping[str, Any]] = (),
    structures: Mapping[str, Path] | None = None,
    made_from: Mapping[str, Any],
) -> dict[str, Path]:
    """Write the whole site, replacing one that is there.

    Parameters
    ----------
    index : mapping
        What the first page needs.
    latents : sequence, shape=(F,)
        Page data of each latent; None for one that is not shown.
    compared : sequence
        One comparison for each other model.
    structures : mapping, optional
        File of the structure by accession.
    made_from : mapping
        Kept in ``atlas.json``: the model's URI, the proteins.

    Returns
    -------
    dict
        ``site`` (``index.html``) and ``single`` (``atlas.html``).

    Raises
    ------
    InputError
        If `out` is a folder with other things in it.
    """
    check_folder(out)
    structures = structures or {}
    chunks: dict[str, Any] = {"index": index}
    for i in range(0, len(latents), LATENTS_PER_CHUNK):
        chunks[f"latents-{i // LATENTS_PER_CHUNK}"] = list(latents[i : i + LATENTS_PER_CHUNK])
    for i in range(0, len(proteins), PROTEINS_PER_CHUNK):
        chunks[f"proteins-{i // PROTEINS_PER_CHUNK}"] = list(proteins[i : i + PROTEINS_PER_CHUNK])
    chunks["sequences"] = [protein["sequence"] for protein in proteins]
    for number, comparison in enumerate(compared):
        chunks[f"compare-{number}"] = comparison
    packed = {key: pack(value) for key, value in chunks.items()}
    for number, protein in enumerate(proteins):
        if (path := structures.get(protein["accession"])) is not None:
            text = path.read_text(encoding="utf-8", errors="replace")
            packed[f"structure-{number}"] = pack({"format": path.suffix[1:], "text": text})
    title = f"{index['model']['name']} · atlas"
    with atomic_folder(out) as folder:
        (folder / "data").mkdir()
        for key, text in packed.items():
            (folder / "data" / f"{key}.js").write_text(chunk_script(key, text), encoding="utf-8")
        for path in STATIC.iterdir():
            shutil.copyfile(path, folder / path.name)
        (folder / "index.html").write_text(_index_page(title), encoding="utf-8")
        (folder / "atlas.html").write_text(_single_page(title, packed), encoding="utf-8")
        (folder / MARK).write_text(json.dumps(dict(made_from), indent=2) + "\n", encoding="utf-8")
    return {"site": out / "index.html", "single": out / "atlas.html"}


def check_folder(out: Path) -> None:
    """Raise `InputError` if `out` holds anything but an atlas, which would be lost."""
    if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("not empty, and no atlas", where=out, hint="give another folder with -o")


def _index_page(title: str) -> str:
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
    return _PAGE.format(
        policy=policy,
        title=html.escape(title),
        style='<link rel="stylesheet" href="app.css">',
        body='<script src="app.js"></script>',
    )


def _single_page(title: str, packed: Mapping[str, str]) -> str:
    script = (STATIC / "app.js").read_text(encoding="utf-8")
    style = (STATIC / "app.css").read_text(encoding="utf-8")
    library = (STATIC / "3dmol.js").read_text(encoding="utf-8")
    has_structures = any(key.startswith("structure-") for key in packed)
    scripts = [script, library] if has_structures else [script]
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; "
        f"style-src {_hash(style)}; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    blocks, size = [], len(script) + len(style) + has_structures * len(library) * 4 // 3
    # Proteins and structures last: what does not fit is left out of this file.
    for key in sorted(packed, key=lambda key: key.startswith(("proteins-", "structure-"))):
        size += len(packed[key])
        if size > SINGLE_FILE_LIMIT and key.startswith(("proteins-", "structure-")):
            continue
        blocks.append(_data_block(key, packed[key]))
    if has_structures:
        blocks.append(_data_block("3dmol", pack(library)))
    body = "\n".join(
        (
            '<script type="text/plain" id="single-file"></script>',
            *blocks,
            f"<script>{script}</script>",
        )
    )
    return _PAGE.format(
        policy=policy, title=html.escape(title), style=f"<style>{style}</style>", body=body
    )


def _data_block(key: str, packed: str) -> str:
    return f'<script type="text/plain" id="chunk-{key}">{packed}</script>'


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
