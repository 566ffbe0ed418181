"""What asking may cost, known before anything is sent.

The most is counted, of what the API bills:

- A question is asked at most `MAX_ASKS` times: once more after an answer that cannot be used, or
  one that was lost on the way. Attempts that the API refuses (overload, rate limits) are billed by
  nobody and may be more.
- A token stands for at least one byte of UTF-8, so that there are at most as many tokens as bytes;
  of English it is a quarter, of sequences about half. `OVERHEAD` is for what the API adds.
- All that is read counts as if it were written to the prompt cache, which costs more than reading.
- Every answer is as long as `max_tokens` allows.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from plmsae.reports.claude.requests import Request
from plmsae.reports.claude.settings import LlmSettings, cost_of

MAX_ASKS = 2
"""How often a question is asked at most, a batch included."""
OVERHEAD = 500
"""Tokens that the API may add to a question: the form of the answer, the roles."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The most that some questions take, each asked `MAX_ASKS` times."""

    n_questions: int
    """Questions that would be asked; answers on the disk are not asked for again."""
    n_requests: int
    """Requests that may be made for them and be billed."""
    input_tokens: int
    """Tokens read by all of these."""
    output_tokens: int
    """Tokens written, if every answer is as long as allowed."""
    cost_usd: float
    """Of both."""


def estimate(tokens: Sequence[int], settings: LlmSettings, *, batch: bool) -> Estimate:
    """Return the most that questions can cost, from the most tokens that each of them has."""
    one = sum(cost_of_one(n, settings, batch=False) for n in tokens)
    # In a batch, only the first time is cheaper.
    first = sum(cost_of_one(n, settings, batch=batch) for n in tokens)
    return Estimate(
        n_questions=len(tokens),
        n_requests=MAX_ASKS * len(tokens),
        input_tokens=MAX_ASKS * sum(tokens),
        output_tokens=MAX_ASKS * settings.max_tokens * len(tokens),
        cost_usd=first + (MAX_ASKS - 1) * one,
    )


def cost_of_one(tokens: int, settings: LlmSettings, *, batch: bool) -> float:
    """Return the most that one request of so many tokens can cost."""
    return cost_of(settings, read=0, cache_write=tokens, written=settings.max_tokens, batch=batch)


def tokens_of(request: Request) -> int:
    """Return a bound of the tokens of a question: its bytes, and `OVERHEAD`."""
    return len(json.dumps(request.arguments, ensure_ascii=False).encode()) + OVERHEAD


@dataclass(kw_only=True)
class Budget:
    """Money that may be spent, shared by threads."""

    max_usd: float | None
    """None sets no bound."""
    spent_usd: float = 0.0
    """At the prices of ``registry/llm.yaml``."""
    _reserved: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reserve(self, usd: float) -> bool:
        """Set the most that a question can cost aside; False if that much is not left."""
        with self._lock:
            wanted = self.spent_usd + self._reserved + usd
            # The last digit of a sum must not decide.
            if self.max_usd is not None and wanted > self.max_usd * (1 + 1e-9):
                return False
            self._reserved += usd
            return True

    def settle(self, reserved: float, spent: float) -> None:
        """Replace what was set aside by what was spent."""
        with self._lock:
            self._reserved -= reserved
            self.spent_usd += spent
