"""Values that are written in a way of their own: lists with ranges, a rate or ``auto``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from plmsae.core.errors import InputError

_PART = re.compile(r"(\d+)(?:(?:\.\.|-)(\d+))?")
_MOST = 100_000


def parse_numbers(text: str | None, *, option: str) -> tuple[int, ...]:
    """Read ``1,2,4``, ``1..6`` or ``1-6`` (both ends included), and any mix; repeats count once.

    Parameters
    ----------
    text : str or None
        What was given; nothing gives the empty tuple.
    option : str
        Named in the message.

    Raises
    ------
    InputError
        If it is not such a list.
    """
    numbers: dict[int, None] = {}
    for part in (text or "").replace(" ", "").split(","):
        if not part and not text:
            continue
        match = _PART.fullmatch(part)
        first = int(match[1]) if match else 0
        last = int(match[2] or match[1]) if match else -1
        if match is None or last < first or last - first > _MOST:
            raise InputError(
                "not a list of whole numbers such as 1,2,4 or 1..6", where=option, value=text
            )
        numbers.update(dict.fromkeys(range(first, last + 1)))
    return tuple(numbers)


def show_numbers(numbers: Sequence[int]) -> str:
    """Write numbers as `parse_numbers` reads them."""
    return ",".join(map(str, numbers))


def parse_rate(text: str) -> float | str:
    """Read a learning rate: ``auto`` or a positive number.

    Raises
    ------
    InputError
        If it is neither.
    """
    if text == "auto":
        return text
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise InputError("must be auto or a positive number", where="--lr", value=text)
    return rate
