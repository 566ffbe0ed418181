"""One message to Claude through the anthropic SDK, and what is used of what comes back.

Neither the key nor any header is logged, cached or put into an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from plmsae.core.foreign_files import kind_of
from plmsae.reports.claude.answers import AnswerError, Description, Predictions, parse
from plmsae.reports.claude.requests import Request
from plmsae.reports.claude.settings import LlmSettings, Usage, cost_of

if TYPE_CHECKING:
    import anthropic


FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Seconds before the second attempt, doubled from then on, where the API names no time."""
_NEVER_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")  # of the SDK's HTTP library


class UnavailableError(Exception):
    """Claude could not be asked, or gave no usable answer; the message is fit to show."""

    def __init__(self, message: str, *, lost: bool = False, wait: float | None = None) -> None:
        super().__init__(message)
        self.lost = lost
        """Whether the request may have been worked on, and be paid for, although no answer came."""
        self.wait = wait
        """Seconds after which the same request may be taken, 0 if the API names no time; None where
        another attempt is of no use."""


class Message(NamedTuple):
    """What is used of a message."""

    text: str
    stop_reason: str | None
    read: int
    written: int
    cache_write: int
    cache_read: int


def send(client: anthropic.Anthropic, arguments: dict[str, Any]) -> Message:
    """Send one message; see `paid`.

    Raises
    ------
    UnavailableError
        If no message came back.
    """
    return taken(paid(client, lambda once: once.messages.create(**arguments)))


def paid(client: anthropic.Anthropic, call: Callable[[anthropic.Anthropic], Any]) -> Any:
    """Make a call that is paid for, once; attempts that the API refused are made again.

    The SDK would also send again what may have been worked on, after a timeout or a broken
    connection, and so pay for it up to `max_retries` times more than is counted. Here that ends the
    call. What the API refuses for a passing reason (408, 409, 429, 5xx, 529), and what never
    reached it, is sent again up to the client's `max_retries` times, after the time that it names.

    Raises
    ------
    UnavailableError
        If no answer came.
    """
    once = client.with_options(max_retries=0)
    for attempt in range(client.max_retries):
        try:
            return reached(lambda: call(once))
        except UnavailableError as error:
            if error.wait is None:
                raise
            time.sleep(error.wait or min(FIRST_WAIT * 2.0**attempt, LONGEST_WAIT))
    return reached(lambda: call(once))


def reached(call: Any) -> Any:
    """Call the SDK and turn whatever it raises into one line.

    Raises
    ------
    UnavailableError
        With the class of the error and its HTTP code.
    """
    import anthropic

    try:
        return call()
    except anthropic.APIStatusError as error:
        # The class and the code only: a message may repeat parts of what was sent.
        name = f"{type(error).__name__} (HTTP {error.status_code})"
        passing = error.status_code in (408, 409, 429) or error.status_code >= 500
        wait = _wait(error.response.headers) if passing else None
        raise UnavailableError(name, wait=wait) from error
    except anthropic.APIConnectionError as error:
        never_sent = type(error.__cause__).__name__ in _NEVER_SENT
        wait = 0.0 if never_sent else None
        raise UnavailableError(type(error).__name__, lost=not never_sent, wait=wait) from error
    except anthropic.AnthropicError as error:
        raise UnavailableError(type(error).__name__) from error
    # The SDK reads whatever comes with status 200: a page of a proxy, half a body, numbers of
    # thousands of digits. How that fails is its own affair; a report is not lost to it.
    except Exception as error:
        raise UnavailableError(
            f"an answer that cannot be read ({type(error).__name__})", lost=True
        ) from error


def _wait(headers: Mapping[str, str]) -> float:
    """Return the seconds that the API asks to wait, at most a minute; 0 if it names none."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if seconds > 0:
            return min(seconds, 60.0)
    return 0.0


def taken(reply: Any) -> Message:
    """Check that what the SDK made of an answer is a message, and return what is used of it.

    Raises
    ------
    UnavailableError
        If it is none.
    """
    if isinstance(reply, str):
        kind = kind_of(reply.encode("utf-8", "replace"))
        what = kind.name if kind is not None else "text"
        raise UnavailableError(f"the endpoint answered with {what}, not with a message")
    if getattr(reply, "type", None) == "error":
        raise UnavailableError("the endpoint answered with an error and status 200")
    blocks = getattr(reply, "content", None)
    usage = getattr(reply, "usage", None)
    read, written = (getattr(usage, name, None) for name in ("input_tokens", "output_tokens"))
    if not (isinstance(blocks, list) and type(read) is int and type(written) is int):
        raise UnavailableError("the endpoint's answer is not a message")
    texts = [getattr(block, "text", None) for block in blocks]
    text = "".join(part for part in texts if isinstance(part, str))
    cache_write, cache_read = (
        value if type(value := getattr(usage, name, None)) is int else 0
        for name in ("cache_creation_input_tokens", "cache_read_input_tokens")
    )
    stop_reason = getattr(reply, "stop_reason", None)
    return Message(text, stop_reason, read, written, cache_write, cache_read)


def usage_of(message: Message, settings: LlmSettings, *, batch: bool = False) -> Usage:
    """Return what a message took."""
    return Usage(
        input_tokens=message.read,
        output_tokens=message.written,
        cache_write_tokens=message.cache_write,
        cache_read_tokens=message.cache_read,
        cost_usd=cost_of(
            settings,
            read=message.read,
            written=message.written,
            cache_write=message.cache_write,
            cache_read=message.cache_read,
            batch=batch,
        ),
        cached=False,
    )


def usable(message: Message, request: Request) -> Description | Predictions:
    """Read the answer out of a message.

    Raises
    ------
    AnswerError
        If the message ended early, or the answer is not of the form that was asked for.
    """
    if message.stop_reason in ("max_tokens", "refusal"):
        raise AnswerError(f"the answer ended early ({message.stop_reason})")
    answer = parse(request.form, message.text)
    if request.check is not None:
        request.check(answer)
    return answer
