"""A device that is not the CPU, on a machine that has only a CPU.

Its tensors hold their numbers on the CPU but say that they are on the device `meta`, cannot be read
by NumPy, and refuse to meet tensors of the CPU, as those of a GPU do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
_aten = torch.ops.aten
# These may read and write across devices.
_TRANSFERS = {_aten._to_copy.default, _aten.copy_.default}


class Away(Tensor):
    """A tensor on the pretended device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Away:
        away = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        away.held = held
        return away

    def __repr__(self) -> str:
        return f"Away({self.held})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """Makes the device there while it is entered.

    Attributes
    ----------
    waits : int
        How often the host had to wait for a number or a shape from the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in (
            _aten._local_scalar_dense.default,
            _aten.nonzero.default,
            _aten.bincount.default,
        ):
            self.waits += isinstance(args[0], Away)
        return _run(func, args, kwargs or {})


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    asked = kwargs.get("device")
    away = any(isinstance(t, Away) for t in tensors) if asked is None else asked == DEVICE
    if func not in _TRANSFERS:
        # A scalar of the CPU may go anywhere, as an index may.
        strangers = [t for t in tensors if not isinstance(t, Away) and t.ndim]
        if strangers and len(strangers) < sum(t.ndim > 0 for t in tensors):
            shapes = [tuple(t.shape) for t in strangers]
            raise RuntimeError(f"{func}: tensors of the CPU among those elsewhere: {shapes}")
    elif func is _aten.copy_.default:
        away = isinstance(args[0], Away)
    if asked == DEVICE:
        kwargs = kwargs | {"device": torch.device("cpu")}
    found = func(*_held(args), **_held(kwargs))
    if func._schema.name.endswith("_") and isinstance(args[0], Tensor):
        return args[0]
    if isinstance(kwargs.get("out"), Tensor):
        return kwargs["out"]
    return tree_map(lambda t: Away(t) if away and isinstance(t, Tensor) else t, found)


def _held(values: Any) -> Any:
    return tree_map(lambda t: t.held if isinstance(t, Away) else t, values)
