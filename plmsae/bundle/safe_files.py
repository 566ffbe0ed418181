"""What may lie in a model folder: plain data, recognised by its bytes and not by its name alone.

A model file comes from somewhere else. Nothing here unpickles, imports or evaluates; a file is
opened only to see that it is what its suffix says.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from plmsae.core.errors import NotFoundError, UnsafeArtifactError
from plmsae.core.foreign_files import LFS_POINTER, kind_of
from plmsae.core.json_files import read_json

_MIB = 1 << 20
_MAX_BYTES = {
    ".json": 16 * _MIB,
    ".md": 4 * _MIB,
    ".parquet": 4096 * _MIB,
    ".safetensors": 32768 * _MIB,
}
_PICKLE_SUFFIXES = {
    *(".pkl", ".pickle", ".p", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".dill", ".cloudpickle"),
    *(".npy", ".npz", ".mar", ".h5", ".keras"),
}
_PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
_MAX_FILES = 64
_MAX_DEPTH = 2


def list_data_files(folder: Path) -> dict[str, Path]:
    """Return every file below `folder`, after checking that all are plain data.

    Returns
    -------
    dict of str to Path
        Path relative to `folder` with ``/``, sorted, to the file.

    Raises
    ------
    UnsafeArtifactError
        For a link, a device, a pickle (by suffix or by content), a suffix that is not one of
        json, md, parquet, safetensors, a file whose bytes are not what its suffix says, or more
        or larger files than a bundle has.
    InputError
        If `folder` is not a folder.
    """
    folder = Path(folder)
    if folder.is_symlink() or not folder.is_dir():
        raise NotFoundError("no such model folder", where=folder)
    found: dict[str, Path] = {}
    _walk(folder, folder, found)
    for path in found.values():
        _check_content(path)
    return dict(sorted(found.items()))


def _walk(root: Path, folder: Path, found: dict[str, Path]) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            relative = path.relative_to(root)
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                raise UnsafeArtifactError("links are not allowed in a model", where=path)
            if stat.S_ISDIR(mode):
                if len(relative.parts) >= _MAX_DEPTH:
                    raise UnsafeArtifactError("folders nest too deep for a model", where=path)
                _walk(root, path, found)
            elif stat.S_ISREG(mode):
                found[relative.as_posix()] = path
            else:
                raise UnsafeArtifactError("neither a file nor a folder", where=path)
            if len(found) > _MAX_FILES:
                raise UnsafeArtifactError(f"more than {_MAX_FILES} files in a model", where=root)


def _check_content(path: Path) -> None:
    suffix = path.suffix.lower()
    with path.open("rb") as handle:
        head = handle.read(512)
    # Zips are refused below, as the pickles that they may hold.
    known = head[8:9] == b"{" or head.startswith((b"PAR1", b"PK"))
    kind = None if known else kind_of(head)
    if kind == LFS_POINTER or (kind is not None and suffix in (".parquet", ".safetensors")):
        raise UnsafeArtifactError(f"this is {kind.name}", where=path, hint=kind.hint)
    # A safetensors file starts with a length, which may be any bytes; its own reader checks it.
    zipped = head[:4] == b"PK\x03\x04"
    pickled = suffix != ".safetensors" and head[:1] == b"\x80" and head[1:2] in _PROTOCOLS
    if suffix in _PICKLE_SUFFIXES or zipped or pickled:
        raise UnsafeArtifactError(
            "pickled content can run code when opened, so plmsae does not open it",
            where=path,
            hint="ask for safetensors, JSON and Parquet",
        )
    if suffix not in _MAX_BYTES:
        raise UnsafeArtifactError(
            f"a model holds only {', '.join(sorted(_MAX_BYTES))} files", where=path
        )
    size = path.stat().st_size
    if size > _MAX_BYTES[suffix]:
        raise UnsafeArtifactError(
            f"larger than the {_MAX_BYTES[suffix]:,} bytes allowed for {suffix}",
            where=path,
            value=f"{size:,} bytes",
        )
    if suffix == ".parquet":
        _check_parquet(path, size)
    elif suffix == ".safetensors":
        safetensors_shapes(path)
    else:
        _check_text(path)


def _check_parquet(path: Path, size: int) -> None:
    with path.open("rb") as handle:
        start = handle.read(4)
        handle.seek(max(0, size - 4))
        end = handle.read(4)
    if start != b"PAR1" or end != b"PAR1":
        raise UnsafeArtifactError("not a whole Parquet file", where=path)


def _check_text(path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UnsafeArtifactError("not UTF-8 text", where=path) from error
    # Pickle protocol 0 is ASCII; a NUL is what is left of any other binary.
    if "\x00" in text:
        raise UnsafeArtifactError("binary content in a text file", where=path)
    if path.suffix.lower() == ".json":
        read_json(path, allow_nan=False)


def safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a safetensors file, reading only its header.

    Raises
    ------
    UnsafeArtifactError
        If the file is not valid safetensors.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            return {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise UnsafeArtifactError(f"not a safetensors file: {error}", where=path) from error
