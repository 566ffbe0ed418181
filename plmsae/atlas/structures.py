"""Where the three-dimensional structures of proteins come from: a folder, or AlphaFold's database.

The database's interface (https://alphafold.ebi.ac.uk/api-docs) returns, for a UniProt accession, a
list of models with their sequence and the address of a file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from plmsae.core.atomic import atomic_path
from plmsae.core.resources import cache_folder
from plmsae.proteins.uniprot import ACCESSION

logger = logging.getLogger(__name__)

API = "https://alphafold.ebi.ac.uk/api"
"""``PLMSAE_ALPHAFOLD_API`` names another, such as a mirror."""

_FILE = re.compile(r"^(?:AF-)?([A-Za-z0-9]+)(?:-F1(?:-model_v\d+)?)?\.(pdb|cif)$")
_MOST_BYTES = 20_000_000
_SECONDS = 20


def structures_in(folder: Path, accessions: Sequence[str]) -> dict[str, Path]:
    """Return the structure file of each protein that has one in `folder`.

    Files are named as the AlphaFold database names them (``AF-P12345-F1-model_v4.pdb``) or by the
    accession alone (``P12345.pdb``, ``P12345.cif``).
    """
    wanted = {accession.upper(): accession for accession in accessions}
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _FILE.match(path.name)
        if match and (accession := wanted.get(match[1].upper())):
            found.setdefault(accession, path)
    return found


def fetch_structures(sequences: Mapping[str, str]) -> dict[str, Path]:
    """Return the files of AlphaFold's models of proteins, from the cache or the network.

    Parameters
    ----------
    sequences : mapping
        Sequence of each protein, by accession. A model of another sequence is not taken: its
        residues would be coloured by those of another protein.

    Returns
    -------
    dict
        By accession, for those of which there is a model. When the database cannot be reached a
        warning says so, and what there is so far is returned.
    """
    base = os.environ.get("PLMSAE_ALPHAFOLD_API", API).rstrip("/")
    folder = cache_folder() / "alphafold"
    found: dict[str, Path] = {}
    for accession, sequence in sequences.items():
        if not ACCESSION.fullmatch(accession):
            continue
        # Of this sequence: an entry that changes gets another model.
        digest = hashlib.sha256(sequence.encode()).hexdigest()
        path = folder / f"{accession}-{digest[:12]}.cif"
        try:
            if path.is_file() or _fetch(base, accession, sequence, path):
                found[accession] = path
        except (OSError, ValueError) as error:
            logger.warning(
                "structures: %s cannot be read (%s); %d of %d fetched",
                *(base, error, len(found), len(sequences)),
            )
            break
    return found


def _fetch(base: str, accession: str, sequence: str, path: Path) -> bool:
    """Write the model of a protein; return whether there is one."""
    try:
        models = json.loads(_read(f"{base}/prediction/{accession}"))
    except HTTPError as error:
        if error.code in (400, 404, 422):  # no such accession, or none that it knows
            return False
        raise
    for model in models if isinstance(models, list) else []:
        address = _address(model, sequence, base)
        if address is not None:
            content = _read(address)
            with atomic_path(path) as scratch:
                scratch.write_bytes(content)
            return True
    return False


def _address(model: Any, sequence: str, base: str) -> str | None:
    """Return where the file of a model lies, if it is of this sequence and of the same server."""
    if not isinstance(model, dict):
        return None
    said = model.get("sequence") or model.get("uniprotSequence")
    address = str(model.get("cifUrl") or "")
    there, here = urlsplit(address), urlsplit(base)
    same_server = (there.scheme, there.netloc) == (here.scheme, here.netloc)
    return address if said == sequence and same_server else None


def _read(address: str) -> bytes:
    if urlsplit(address).scheme not in ("https", "http"):
        raise ValueError(f"{address} is no web address")
    with urlopen(address, timeout=_SECONDS) as response:  # noqa: S310  # the scheme is checked
        content: bytes = response.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{address} has more than {_MOST_BYTES:,} bytes")
    return content
