"""The pages of the small atlas: where they are, and what is on them when they have been drawn."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any


def unpack(text: str) -> Any:
    """Return what `chunks.pack` packed, as the site's script reads it."""
    return json.loads(gzip.decompress(base64.b64decode(text)))


def index_of_site(world: Path) -> Any:
    """Return the index of the site."""
    script = (world / "site" / "data" / "index.js").read_text()
    return unpack(json.loads(f"[{script[6:-3]}]")[1])


def url(world: Path, hash: str = "", file: str = "index.html") -> str:
    return (world / "site" / file).as_uri() + hash


def accession(world: Path) -> str:
    return (world / "proteins.tsv").read_text().splitlines()[1].split("\t")[0]


def sequence_of(world: Path) -> str:
    row = (world / "proteins.tsv").read_text().splitlines()[3].split("\t")
    return max(row, key=lambda cell: len(cell) if cell.isupper() and cell.isalpha() else 0)


PAGES = {
    "#/": "[aria-label=latents] [role=cell]",
    "#/latent/0": ".strip rect",
    "#/concepts": "[aria-label=concepts] [role=cell]",
    "#/proteins": "[aria-label=proteins] [role=cell]",
    "#/protein/ACCESSION": ".viewer canvas",
    "#/compare/0": "[aria-label='matched latents'] [role=cell]",
    "#/sequence": "textarea",
    "#/sequence?s=SEQUENCE": ".tracks rect",
}
"""Each page, and what is there when it has been drawn."""


def open_page(page: Any, world: Path, hash: str) -> None:
    sequence = sequence_of(world)
    page.goto(url(world, hash.replace("ACCESSION", accession(world)).replace("SEQUENCE", sequence)))
    page.wait_for_selector(PAGES[hash], timeout=60_000)
