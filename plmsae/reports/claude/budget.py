"""What asking may cost, known before anything is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from plmsae.reports.claude.requests import Request
from plmsae.reports.claude.settings import LlmSettings, cost_of

_CHARACTERS_PER_TOKEN = 2.0  # sequences and numbers give short tokens; prose gives some 4


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The most that some questions take."""

    n_requests: int
    """Questions that would be sent; answers on the disk are not asked for again."""
    input_tokens: int
    """Counted as one for every two characters, which is more than English or JSON take."""
    output_tokens: int
    """If every answer is as long as allowed."""
    cost_usd: float
    """Of both, without any saving by the prompt cache."""


def estimate(requests: Sequence[Request], settings: LlmSettings, *, batch: bool) -> Estimate:
    """Return the most that questions can cost."""
    read = sum(tokens_of(request) for request in requests)
    written = settings.max_tokens * len(requests)
    cost = cost_of(settings, read=read, written=written, batch=batch)
    return Estimate(
        n_requests=len(requests), input_tokens=read, output_tokens=written, cost_usd=cost
    )


def tokens_of(request: Request) -> int:
    """Return an upper estimate of the tokens of a question."""
    return int(len(json.dumps(request.arguments, ensure_ascii=False)) / _CHARACTERS_PER_TOKEN) + 1


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
