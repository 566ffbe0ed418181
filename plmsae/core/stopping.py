"""SIGINT and SIGTERM: an orderly end at the next step boundary, or at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import NoReturn

logger = logging.getLogger(__name__)

CONTINUES = "the same command continues from there"


class Terminated(SystemExit):
    """SIGTERM, as an exception that unwinds the stack; the process then ends with code 143.

    Parameters
    ----------
    message : str
        What was kept, for the user; empty if nothing was.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(128 + signal.SIGTERM)
        self.message = message

    def __str__(self) -> str:
        """Return the message."""
        return self.message


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


class StopRequest:
    """Whether a signal has asked this process to stop; made by `stop_requests`."""

    def __init__(self) -> None:
        self.number: int | None = None
        """Of the signal, once it has come."""

    @property
    def received(self) -> bool:
        """Whether the signal has come."""
        return self.number is not None

    def stop(self, kept: str) -> NoReturn:
        """End the work, when what is to be kept is stored.

        Parameters
        ----------
        kept : str
            What was stored and where, for the user.

        Raises
        ------
        KeyboardInterrupt
            After SIGINT.
        Terminated
            After SIGTERM.
        """
        message = f"{kept}; {CONTINUES}"
        if self.number == signal.SIGTERM:
            raise Terminated(message)
        raise KeyboardInterrupt(message)


@contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """Turn SIGTERM into `Terminated`, unless another handler is set or this is a side thread."""
    if not _is_main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    with _handled(signal.SIGTERM, _terminate):
        yield


@contextmanager
def kept_if_stopped(kept: Callable[[], str]) -> Iterator[None]:
    """Let what ends the block by a signal say what is kept, unless it says so itself already.

    Parameters
    ----------
    kept : callable
        Called after a signal. Returns what is kept and where, for the user; empty if nothing is.

    Raises
    ------
    KeyboardInterrupt, Terminated
        If one ends the block, the same with that message.
    """
    try:
        yield
    except (KeyboardInterrupt, Terminated) as error:
        if str(error) or not (said := kept()):
            raise
        raise type(error)(said) from error


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note the first SIGINT or SIGTERM instead of ending the work; a second one ends it at once.

    Handlers that others have set are left alone, and so is a signal that is ignored. In a side
    thread, which gets no signals, nothing is changed.

    Yields
    ------
    StopRequest
        To be asked where the work can be stopped.
    """
    request = StopRequest()
    usual = {
        signal.SIGINT: (signal.default_int_handler,),
        signal.SIGTERM: (signal.SIG_DFL, _terminate),
    }
    if not _is_main_thread():
        yield request
        return
    with ExitStack() as handlers:

        def note(number: int, _frame: FrameType | None) -> None:
            # The next signal finds the handlers that were there before.
            handlers.close()
            request.number = number
            # Output that the signal interrupted may refuse to be written to.
            with suppress(RuntimeError):
                logger.warning("stopping at the next step; a second signal stops at once")

        for number, ours in usual.items():
            if signal.getsignal(number) in ours:
                handlers.enter_context(_handled(number, note))
        yield request


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _handled(number: int, handler: object) -> Iterator[None]:
    before = signal.signal(number, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        signal.signal(number, before)
