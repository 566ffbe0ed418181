"""Opening a checkpoint of unknown origin: nothing in it runs, and nothing large is built of it.

A safetensors file is a JSON header and bytes. A ``.pt`` file is a zip with a pickle in it: the
pickle is first read, without running it, for what it would call, then opened by PyTorch's
restricted unpickler. Shapes and storage are checked before any tensor is touched.
"""

from __future__ import annotations

import math
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from plmsae.core.errors import FormatError, NotFoundError, UnsafeArtifactError
from plmsae.core.foreign_files import kind_of
from plmsae.sae.formats import read_config

SAFETENSORS = (".safetensors",)
TORCH = (".pt", ".pth", ".bin", ".ckpt")

_HEAD_BYTES = 512
_MAX_HEADER_BYTES = 16 << 20
_MAX_YAML_BYTES = 1 << 16
_MAX_YAML_DEPTH = 32
_MAX_TENSORS = 4096
_MAX_WIDTH = 1 << 24
_FLOATS = ("F64", "F32", "F16", "BF16")
_INTEGERS = ("I64", "I32", "I16", "I8", "U8", "BOOL")
# How Python's own readers of zips and pickles fail on bytes that mean nothing.
_MALFORMED = (ValueError, LookupError, EOFError, OSError, OverflowError, struct.error)
# What the pickle of a dictionary of tensors calls, and nothing that could do or allocate more.
_HARMLESS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(
        f"torch {kind}Storage"
        for kind in (
            *("Double", "Float", "Half", "BFloat16"),
            *("Long", "Int", "Short", "Char", "Byte", "Bool"),
        )
    ),
}


class Weights:
    """The tensors of an opened file, checked one by one as they are taken.

    Attributes
    ----------
    path : Path
        The file.
    names : set of str
        The tensors in it.
    """

    def __init__(
        self, path: Path, shapes: dict[str, tuple[int, ...]], load: Callable[[str], Tensor]
    ) -> None:
        self.path = path
        self.names = set(shapes)
        self._shapes = shapes
        self._load = load

    def shape(self, name: str, ndim: int) -> tuple[int, ...]:
        """Return the shape of a tensor that must have `ndim` dimensions."""
        if name not in self.names:
            raise FormatError(f"tensor {name} is missing", where=self.path)
        shape = self._shapes[name]
        if len(shape) != ndim or not all(0 < size <= _MAX_WIDTH for size in shape):
            raise FormatError(
                f"tensor {name} must have {ndim} dimensions", where=self.path, value=str(shape)
            )
        return shape

    def take(self, name: str, shape: tuple[int, ...], *, finite: bool = True) -> Tensor:
        """Return a tensor as float32; it must have that shape and, unless told else, be finite."""
        found = self.shape(name, len(shape))
        if found != shape:
            raise FormatError(
                f"tensor {name} must have shape {shape}", where=self.path, value=str(found)
            )
        tensor = self._load(name)
        if not tensor.is_floating_point():
            raise FormatError(
                f"tensor {name} must be floating point", where=self.path, value=str(tensor.dtype)
            )
        tensor = tensor.detach().float()
        if finite and not torch.isfinite(tensor).all():
            raise FormatError(f"{name} holds values that are not finite", where=self.path)
        return tensor

    def number(self, name: str) -> float | None:
        """Return a tensor of one element as a number; None if it is not there."""
        if name not in self.names:
            return None
        if math.prod(self._shapes[name]) != 1:
            raise FormatError(
                f"{name} must be one number", where=self.path, value=str(self._shapes[name])
            )
        value = float(self._load(name))
        if not math.isfinite(value):
            raise FormatError(f"{name} is not finite", where=self.path)
        return value

    def integers(self, name: str) -> list[int]:
        """Return a short vector of whole numbers."""
        (size,) = self.shape(name, 1)
        tensor = self._load(name)
        if size > _MAX_TENSORS or tensor.is_floating_point() or tensor.is_complex():
            raise FormatError(f"{name} must be a short list of whole numbers", where=self.path)
        return [int(v) for v in tensor]


def open_weights(path: Path) -> Weights:
    """Open a weights file by its suffix.

    Raises
    ------
    UnsafeArtifactError
        If it carries code, or claims more than it holds.
    InputError
        If it is missing or malformed.
    """
    if not path.is_file():
        raise NotFoundError("no such file", where=path)
    if path.suffix in SAFETENSORS:
        return _open_safetensors(path)
    if path.suffix in TORCH:
        return _open_torch(path)
    raise FormatError(
        "not a weights file", where=path, hint=f"one of {', '.join(SAFETENSORS + TORCH)} is read"
    )


def read_sidecar(path: Path) -> dict[str, Any]:
    """Read a small JSON or YAML mapping; an absent one is empty."""
    if not path.exists():
        return {}
    if not path.is_file():
        raise UnsafeArtifactError("not a plain file", where=path)
    if path.suffix == ".json":
        return read_config(path)
    if path.stat().st_size > _MAX_YAML_BYTES:
        raise UnsafeArtifactError("too large for a configuration", where=path)
    try:
        text = path.read_text(encoding="utf-8")
        _check_yaml(text, path)
        value = _PlainLoader(text).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FormatError("not plain YAML", where=path, hint=str(error)) from error
    if not isinstance(value, dict):
        raise FormatError("not a mapping", where=path)
    return {str(key): entry for key, entry in value.items()}


_CALLS = ("object/apply:", "object/new:", "module:")
_PATHS = "object/apply:pathlib."


class _PlainLoader(yaml.SafeLoader):
    """A safe loader to which what is tagged as an object of Python is the data it is made of.

    Configurations dumped by Python code (InterPLM's) tag tuples, paths and classes. Nothing of them
    is run; what asks for any other call is refused, since no configuration needs one.
    """


def _plain(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:
    if tag.startswith(_CALLS) and not tag.startswith(_PATHS):
        raise ValueError(f"line {node.start_mark.line + 1} is a call of Python code: {tag}")
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return node.value


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _plain)


def _check_yaml(text: str, path: Path) -> None:
    """Refuse what lets a few lines take gigabytes (aliases) or minutes (deep nesting)."""
    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            raise UnsafeArtifactError("YAML with aliases is not read", where=path)
        name = type(token).__name__
        depth += name.endswith("StartToken") - name.endswith("EndToken")
        if depth > _MAX_YAML_DEPTH:
            raise UnsafeArtifactError("YAML nested this deeply is not read", where=path)


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file in `folder`, refusing one that leads out of it.

    The links of a Hugging Face cache (from ``snapshots`` to ``blobs`` beside it) are followed.
    """
    root = folder.resolve()
    target = (root / name).resolve()
    allowed = [root]
    for parent in (root, *root.parents):
        if parent.name == "snapshots":
            allowed.append(parent.parent / "blobs")
            break
    if not any(target.is_relative_to(place) for place in allowed):
        raise UnsafeArtifactError(f"{name} leads out of the folder", where=folder)
    return root / name


def _open_safetensors(path: Path) -> Weights:
    with path.open("rb") as handle:
        head = handle.read(_HEAD_BYTES)
    # A safetensors file has the length of its header first, then the header, which is JSON.
    if head[8:9] != b"{":
        _refuse_kind(head, path)
    header = int.from_bytes(head[:8], "little")
    if header > _MAX_HEADER_BYTES:
        raise UnsafeArtifactError("its header is too large", where=path, value=f"{header} bytes")
    try:
        with safe_open(path, framework="pt") as handle:
            names = list(handle.keys())
            if len(names) > _MAX_TENSORS:
                raise UnsafeArtifactError("it holds too many tensors", where=path)
            slices = {name: handle.get_slice(name) for name in names}
            kinds = {name: str(part.get_dtype()) for name, part in slices.items()}
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
    except (SafetensorError, OSError, OverflowError) as error:
        raise FormatError("not a safetensors file", where=path, hint=str(error)) from error

    def load(name: str) -> Tensor:
        if kinds[name] not in _FLOATS + _INTEGERS:
            raise FormatError(f"tensor {name} has a type not read", where=path, value=kinds[name])
        with safe_open(path, framework="pt") as handle:
            tensor: Tensor = handle.get_tensor(name)
        return tensor

    return Weights(path, shapes, load)


def _open_torch(path: Path) -> Weights:
    _look_through(path)
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    # A malformed pickle can fail in any way at all; none of them may pass for a weights file.
    except Exception as error:
        raise UnsafeArtifactError(
            "PyTorch's safe loader refuses it", where=path, hint=str(error).split("\n")[0][:200]
        ) from error
    if isinstance(stored, dict) and isinstance(stored.get("state_dict"), dict):
        stored = stored["state_dict"]
    if not isinstance(stored, dict):
        raise FormatError("it does not hold a dictionary of tensors", where=path)
    tensors = {
        str(name): t
        for name, t in stored.items()
        if isinstance(name, str) and isinstance(t, Tensor)
    }
    for name, tensor in tensors.items():
        dense = tensor.layout == torch.strided and tensor.device.type == "cpu"
        needed = tensor.numel() * tensor.element_size()
        if not dense or tensor.is_quantized or tensor.untyped_storage().nbytes() < needed:
            raise UnsafeArtifactError(f"tensor {name} is not what it claims", where=path)
    return Weights(path, {n: tuple(t.shape) for n, t in tensors.items()}, tensors.__getitem__)


def _refuse_kind(head: bytes, path: Path) -> None:
    """Raise for a file that is not weights at all, but what a failed download leaves."""
    if (kind := kind_of(head)) is not None:
        raise UnsafeArtifactError(
            f"no weights file: this is {kind.name}", where=path, hint=kind.hint
        )


def _look_through(path: Path) -> None:
    """Refuse a torch file that unpacks to more than it is, or whose pickle would call anything."""
    with path.open("rb") as handle:
        head = handle.read(_HEAD_BYTES)
    if not head.startswith(b"PK"):
        _refuse_kind(head, path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise UnsafeArtifactError("it is compressed, as no torch file is", where=path)
            if sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise UnsafeArtifactError("it unpacks to more than it is", where=path)
            pickles = [e for e in entries if e.filename.endswith("/data.pkl")]
            if len(pickles) != 1 or len(entries) > _MAX_TENSORS:
                raise FormatError("not a torch checkpoint", where=path)
            if pickles[0].file_size > _MAX_HEADER_BYTES:
                raise UnsafeArtifactError("its pickle is too large", where=path)
            program = archive.read(pickles[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, *_MALFORMED) as error:
        raise UnsafeArtifactError(
            "not a torch checkpoint that can be opened safely", where=path, hint=str(error)
        ) from error
    try:
        for opcode, argument, _ in pickletools.genops(program):
            if opcode.name == "GLOBAL" and argument not in _HARMLESS:
                raise UnsafeArtifactError(
                    f"its pickle calls {str(argument).replace(' ', '.')}",
                    where=path,
                    hint="store the weights alone, as safetensors",
                )
            if opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"):
                raise UnsafeArtifactError("its pickle hides what it calls", where=path)
    except _MALFORMED as error:
        raise UnsafeArtifactError("its pickle is malformed", where=path) from error
