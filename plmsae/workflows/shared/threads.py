"""How many processor cores a workflow computes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, Protocol, TypeVar

from plmsae.core.errors import InputError
from plmsae.tracking.environment import usable_cores
from plmsae.workflows.shared.progress import Progress

_READ_AT_IMPORT = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")


class _Request(Protocol):
    @property
    def threads(self) -> int | None: ...


_R = TypeVar("_R", bound=_Request)
_T = TypeVar("_T")


def on_threads(run: Callable[[_R, Progress], _T]) -> Callable[[_R, Progress], _T]:
    """Make a workflow compute on as many cores as its request's `threads` says."""

    @wraps(run)
    def limited(request: _R, progress: Progress) -> _T:
        with computing_on(request.threads):
            return run(request, progress)

    return limited


@contextmanager
def computing_on(threads: int | None) -> Iterator[None]:
    """Let torch and the libraries beside it compute on so many cores while the block runs.

    Libraries that are not imported yet read the number from the environment, as do programs that
    are started; that is why workflows import them late. Of those that are, polars keeps the
    number that it has.

    Parameters
    ----------
    threads : int or None
        None changes nothing: OMP_NUM_THREADS holds where it is set, else all cores that the process
        may use.

    Raises
    ------
    InputError
        If it is less than 1.
    """
    if threads is None:
        yield
        return
    if threads < 1:
        raise InputError("needs one core or more", where="--threads", value=str(threads))
    from threadpoolctl import threadpool_limits

    with ExitStack() as stack:
        before = {name: os.environ.get(name) for name in _READ_AT_IMPORT}
        stack.callback(_set_environment, before)
        _set_environment(dict.fromkeys(_READ_AT_IMPORT, str(threads)))
        stack.callback(_set_torch, _torch_threads(before["OMP_NUM_THREADS"]))
        _set_torch(threads)
        stack.enter_context(threadpool_limits(limits=threads))
        yield


def _set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _torch_threads(from_environment: str | None) -> int:
    """Return how many threads torch has, or would have if it were imported now."""
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    asked = from_environment or ""
    return int(asked) if asked.isdigit() else usable_cores()


def _set_torch(threads: int) -> None:
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
