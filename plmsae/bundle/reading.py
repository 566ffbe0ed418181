"""The bundle: one folder that holds a trained SAE and the evidence of what its features mean.

It is what the registry stores and what scoring reads. Only plain data (see `safe_files`); every
file's SHA-256 stands in ``model.json``, and the version in the registry carries the SHA-256 of
``model.json`` itself, so a model that was changed on the way is refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.bundle.meta import BundleMeta
from plmsae.bundle.safe_files import list_data_files, safetensors_shapes
from plmsae.bundle.schema import CONCEPTS_SCHEMA, FEATURES_SCHEMA, check_frame
from plmsae.core.errors import FormatError, InputError, UnsafeArtifactError
from plmsae.core.fingerprint import fingerprint_file
from plmsae.core.json_files import read_json

if TYPE_CHECKING:
    import polars as pl

    from plmsae.concepts.calling.callers import Callers

SCHEMA_VERSION = 3
"""What is written and read. Since 2, ``call_precision`` follows the rule of
`concepts.calling.matching`; since 3, the latent and threshold that detect a concept and those that
call it are columns of their own, where before one column could hold either."""
MODEL_FILE, CARD_FILE = "model.json", "README.md"
FEATURES_FILE, CONCEPTS_FILE = "features.parquet", "concepts.parquet"
CONFIG_FILE, WEIGHTS_FILE = "sae/cfg.json", "sae/sae_weights.safetensors"
CALLERS_FILE = "callers.json"
"""Probes, segment decoders and calibrators; a bundle may lack it."""
NEEDED_FILES = (CONFIG_FILE, WEIGHTS_FILE, FEATURES_FILE, CONCEPTS_FILE, CARD_FILE)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle that was read and checked. Its tables are read when they are first asked for."""

    path: Path
    meta: BundleMeta
    """What ``model.json`` says."""
    digest: str
    """SHA-256 of ``model.json``, and through it of everything in the folder."""

    @property
    def name(self) -> str:
        """The name it is registered under (see `plmsae.bundle.naming`)."""
        return self.meta.name

    @property
    def sae_folder(self) -> Path:
        """Folder of ``cfg.json`` and ``sae_weights.safetensors``, for `plmsae.sae.load_sae`."""
        return self.path / "sae"

    @cached_property
    def features(self) -> pl.DataFrame:
        """One row per latent, in the order of the latents (`schema.FEATURES_SCHEMA`)."""
        return self._frame(FEATURES_FILE, FEATURES_SCHEMA)

    @cached_property
    def concepts(self) -> pl.DataFrame:
        """One row per concept and latent that detects it (`schema.CONCEPTS_SCHEMA`)."""
        return self._frame(CONCEPTS_FILE, CONCEPTS_SCHEMA)

    @cached_property
    def callers(self) -> Callers:
        """Probes and calibrators; empty for a model registered without any."""
        from plmsae.concepts.calling.callers import Callers

        path = self.path / CALLERS_FILE
        if not path.is_file():
            return Callers()
        try:
            return Callers.from_json(read_json(path, allow_nan=False), self.meta.d_sae)
        except InputError as error:
            raise FormatError(
                error.what, where=path, record=error.record, value=error.value, hint=error.hint
            ) from error

    @property
    def card(self) -> str:
        """The model card, Markdown."""
        return (self.path / CARD_FILE).read_text(encoding="utf-8")

    def _frame(self, file: str, schema: dict[str, Any]) -> pl.DataFrame:
        import polars as pl

        path = self.path / file
        try:
            frame = pl.read_parquet(path, glob=False)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise FormatError(f"not a readable Parquet file: {error}", where=path) from error
        check_frame(frame, schema, d_sae=self.meta.d_sae, where=path)
        return frame


def read_bundle(folder: Path) -> Bundle:
    """Read and check a bundle folder; nothing in it is executed.

    Parameters
    ----------
    folder : Path
        A folder written by `write_bundle`, here or elsewhere.

    Returns
    -------
    Bundle
        Its tables are read on first use.

    Raises
    ------
    UnsafeArtifactError
        If it holds anything but plain data, or a file differs from its recorded SHA-256.
    InputError
        If a file or a field is missing, wrong, or from a newer plmsae.
    """
    folder = Path(folder)
    files = list_data_files(folder)
    if MODEL_FILE not in files:
        raise FormatError("not a bundle: model.json is missing", where=folder)
    body = read_json(files[MODEL_FILE], allow_nan=False)
    digest = hashlib.sha256(files[MODEL_FILE].read_bytes()).hexdigest()
    version, recorded = body.pop("schema_version", None), body.pop("files", None)
    if version != SCHEMA_VERSION:
        older = isinstance(version, int) and version < SCHEMA_VERSION
        raise FormatError(
            f"written in bundle format {version}, this plmsae reads {SCHEMA_VERSION}",
            where=files[MODEL_FILE],
            hint=f"register it again: plmsae import sae {folder / 'sae'} --plm {body.get('plm')} "
            f"--layer {body.get('layer')}, then plmsae evaluate"
            if older
            else "upgrade plmsae",
        )
    _check_files(folder, files, recorded)
    try:
        meta = BundleMeta.from_json(body)
    except InputError as error:
        raise FormatError(
            error.what, where=files[MODEL_FILE], value=error.value, hint=error.hint
        ) from error
    _check_sae(files, meta)
    return Bundle(path=folder, meta=meta, digest=digest)


def _check_files(folder: Path, files: dict[str, Path], recorded: object) -> None:
    if not isinstance(recorded, dict):
        raise FormatError("field 'files' is missing", where=folder / MODEL_FILE)
    for name in NEEDED_FILES:
        if name not in files or name not in recorded:
            raise FormatError(f"not a whole bundle: {name} is missing", where=folder)
    for name, path in files.items():
        if name == MODEL_FILE:
            continue
        if name not in recorded:
            raise UnsafeArtifactError("a file that model.json does not list", where=path)
        if fingerprint_file(path) != recorded[name]:
            raise UnsafeArtifactError(
                "the file is not the one that was written (SHA-256 differs)", where=path
            )


def _check_sae(files: dict[str, Path], meta: BundleMeta) -> None:
    config = read_json(files[CONFIG_FILE], allow_nan=False)
    for key, expected in (("d_in", meta.d_in), ("d_sae", meta.d_sae)):
        if config.get(key) != expected:
            raise FormatError(
                f"{key} differs from model.json's {expected}",
                where=files[CONFIG_FILE],
                value=str(config.get(key)),
            )
    target = _target(config)
    if target != meta.target:
        raise FormatError(
            f"its target differs from model.json's {meta.target}",
            where=files[CONFIG_FILE],
            value=target,
        )
    shapes = safetensors_shapes(files[WEIGHTS_FILE])
    if shapes.get("W_enc") != (meta.d_in, meta.d_sae):
        raise FormatError(
            f"W_enc must have shape ({meta.d_in}, {meta.d_sae})",
            where=files[WEIGHTS_FILE],
            value=str(shapes.get("W_enc")),
        )


def _target(config: dict[str, Any]) -> str:
    """Return what an SAE of this ``cfg.json`` reconstructs; where SAELens wrote it, by its name."""
    metadata = config.get("metadata")
    ours = metadata.get("plmsae") if isinstance(metadata, dict) else None
    if isinstance(ours, dict) and "target" in ours:
        return str(ours["target"])
    return "layer" if str(config.get("architecture")).endswith("transcoder") else "input"
