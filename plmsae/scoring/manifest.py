"""What a score run says about itself once it is complete."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from plmsae import __version__
from plmsae.core.errors import FormatError
from plmsae.scoring.schema import FORMAT_VERSION

_LIBRARIES = ("numpy", "polars", "pyarrow", "scipy", "torch", "transformers")


def versions() -> dict[str, str]:
    """Return the version of plmsae and of each library that the numbers or bytes depend on."""
    found = {"plmsae": __version__}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """Everything, beside the input, that decides what a run writes.

    Two runs may share a folder only when their identities are equal.
    """

    model_uri: str
    """The model as it is named in every row; pinned to a version by the caller."""
    model_sha256: str
    """Digest of the bundle, covering every file of it."""
    plm: str
    """Hub id, catalogue name or folder of the protein language model."""
    plm_revision: str
    """Its exact revision; empty where the model records none."""
    layer: int
    """Layer the SAE reads, 1-based."""
    unit: str
    """``residue`` or ``protein``."""
    part_residues: int
    """Residues after which a part of the input is closed."""
    write_features: bool
    """Whether ``features/`` is written."""
    min_precision: float
    """What concepts had to meet to be called; 0 keeps all that were measured."""
    unmeasured: bool = False
    """Whether concepts that abstain, or whose precision was never measured, are called, too."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What else the caller says the numbers depend on: device, dtype, token budget."""
    versions: Mapping[str, str] = field(default_factory=versions)
    """Versions of plmsae and of the libraries beneath."""
    format: int = FORMAT_VERSION
    """Version of the output contract."""

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values."""
        return _plain(self)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What went into a part or a run, and what came of it.

    ``n_scored + n_rejected == n_read`` always.
    """

    input_sha256: str
    """Fingerprint of all records, in their order."""
    n_read: int
    """Records in the input."""
    n_scored: int
    """Proteins that were scored: rows of ``proteins/``."""
    n_rejected: int
    """Records that were not: rows of ``rejected/``."""
    n_residues: int
    """Residues scored."""
    n_annotations: int
    """Rows of ``annotations/``."""
    n_implied: int
    """Classes that these rows imply beside their own concept (``implied``), over all rows."""
    n_features: int | None
    """Rows of ``features/``; None where it is not written."""


@dataclass(frozen=True, kw_only=True)
class Manifest(Counts):
    """What ran, on what, with which model, and what came of it; holds no time and no host."""

    identity: Mapping[str, object]
    """The fields of `RunIdentity`."""
    input: str
    """File name of the input, ``-`` for standard input."""
    n_parts: int
    """Parts that the input was cut into; each table has a file of each, ``features/`` several."""
    outputs_sha256: str
    """Fingerprint over the path and SHA-256 of every Parquet file."""
    n_by_concept: Mapping[str, int] = field(default_factory=dict)
    """Rows of ``annotations/`` of each concept that may be called, also where there are none; empty
    in manifests from before it was counted, as the next one."""
    abstained: Mapping[str, str] = field(default_factory=dict)
    """The other concepts of the model, each with the reason why it is not called."""

    @property
    def model_uri(self) -> str:
        """The model that scored."""
        return str(self.identity["model_uri"])

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values."""
        return _plain(self)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest from a file.

        Raises
        ------
        FormatError
            If the file is not a manifest, or one of another format.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FormatError(f"not a score manifest: {error}", where=path) from error
        return cls.parse(content, where=path)

    @classmethod
    def parse(cls, content: bytes, *, where: str | Path) -> Manifest:
        """Read a manifest; `where` is how an error names it.

        Raises
        ------
        FormatError
            If it is not a manifest, or one of another format.
        """
        try:
            manifest = cls(**json.loads(content))
            found = manifest.identity["format"]
        except (UnicodeDecodeError, ValueError, TypeError, KeyError) as error:
            raise FormatError(f"not a score manifest: {error}", where=where) from error
        if found != FORMAT_VERSION:
            raise FormatError(
                f"written in score format {found}, this plmsae reads {FORMAT_VERSION}", where=where
            )
        return manifest


def _plain(value: RunIdentity | Manifest) -> dict[str, object]:
    found = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in found.items()}
