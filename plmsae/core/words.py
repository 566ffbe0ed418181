"""Numbers in sentences."""

from __future__ import annotations


def counted(n: float, noun: str) -> str:
    """Return ``1 protein`` or ``1,204 proteins``, for nouns whose plural ends in s."""
    return f"{n:,.0f} {noun}{'' if n == 1 else 's'}"
