"""Which weights exactly a PLM has: a digest of its folder, and of a head that was fitted."""

from __future__ import annotations

import hashlib
from pathlib import Path

from plmsae.core.fingerprint import fingerprint_file

#: A language-modelling head that was fitted here, beside the weights.
HEAD = "head.safetensors"
#: Stands in a revision between that of the body and the digest of such a head.
_HEAD_MARK = "+head:"


def folder_revision(folder: Path) -> str:
    """Return ``sha256:…`` over the config and weights of a local PLM folder.

    A head that was fitted here has no part in it: the activations do not depend on it.
    """
    weights = sorted(path for path in folder.glob("*.safetensors") if path.name != HEAD)
    digest = hashlib.sha256()
    for path in [folder / "config.json", *weights]:
        digest.update(path.name.encode())
        digest.update(bytes.fromhex(fingerprint_file(path)))
    return f"sha256:{digest.hexdigest()}"


def revision_with_head(revision: str, folder: Path) -> str:
    """Return the revision of a body followed by ``+head:…`` for the head in its folder."""
    return f"{revision}{_HEAD_MARK}{fingerprint_file(folder / HEAD)[:16]}"


def body_revision(revision: str) -> str:
    """Return a revision without the head that was fitted: what the activations depend on."""
    return revision.partition(_HEAD_MARK)[0]
