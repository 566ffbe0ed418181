"""What a report would ask Claude, and the most that it can cost, before anything is asked."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plmsae.reports.claude.answer_cache import AnswerCache
from plmsae.reports.claude.answers import Description
from plmsae.reports.claude.budget import Estimate, estimate, tokens_of
from plmsae.reports.claude.messages import UnavailableError, reached
from plmsae.reports.claude.requests import QUOTED, Request, describe_request
from plmsae.reports.claude.settings import LlmSettings
from plmsae.reports.describe import predict_requests
from plmsae.reports.evidence import FeatureEvidence

if TYPE_CHECKING:
    import anthropic

logger = logging.getLogger(__name__)

MARGIN = 1.05
"""What the API counts is multiplied by this: it calls its count an estimate."""


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a report would send, and what that can cost."""

    model: str
    describing: Estimate
    """Of the descriptions."""
    testing: Estimate
    """Of the predictions. The descriptions that they quote are taken to be as long as allowed."""
    counted_by_api: bool
    """Whether the API counted the tokens; if not, they are bounded by the bytes."""

    @property
    def cost_usd(self) -> float:
        """The most that both can cost."""
        return self.describing.cost_usd + self.testing.cost_usd

    def lines(self, n_features: int) -> list[str]:
        """Return it in words."""
        lines = [f"{n_features} features by {self.model}; no question was asked"]
        for what, part in (("descriptions", self.describing), ("predictions", self.testing)):
            lines.append(
                f"{part.n_questions} {what}: at most {part.n_requests} requests, "
                f"{part.input_tokens:,} tokens read, {part.output_tokens:,} written, "
                f"${part.cost_usd:.2f}"
            )
        how = (
            f"as the API counts them, and {MARGIN - 1:.0%} more"
            if self.counted_by_api
            else "one for each byte, which is several times what most texts have"
        )
        lines.append(
            f"each question is counted twice, as it is asked again after an answer that is lost or "
            f"cannot be used; tokens are {how}"
        )
        return [*lines, f"at most ${self.cost_usd:.2f} in all"]


def dry_run(
    evidence: Sequence[FeatureEvidence],
    *,
    settings: LlmSettings,
    cache_dir: Path | None,
    batch: bool = False,
    client: anthropic.Anthropic | None = None,
) -> DryRun:
    """Say what `describe_all` would send, without asking anything.

    Parameters
    ----------
    evidence, settings, cache_dir, batch
        As `plmsae.reports.describe.describe_all` takes them.
    client : anthropic.Anthropic, optional
        Has the tokens of each question counted by the API, which sees the question and makes no
        message of it. Without it, or where it fails, they are bounded by the bytes.
    """
    cache = AnswerCache(folder=cache_dir)
    describing: list[Request] = []
    testing: list[tuple[Request, int]] = []  # with the bytes of a description yet to be written
    for one in evidence:
        request = describe_request(one, settings)
        answer = cache.read(request)
        unknown = 0
        if not isinstance(answer, Description):
            describing.append(request)
            answer, unknown = _EMPTY, sum(QUOTED.values())
        asked = predict_requests(one, answer, settings)
        testing += [(r, unknown) for r in asked if unknown or cache.read(r) is None]
    count: Callable[[Request], int] = tokens_of
    counted = False
    if client is not None and (describing or testing):
        count, counted = _api_count(client, [*describing, *(r for r, _ in testing)])
    return DryRun(
        model=settings.model,
        describing=estimate([count(request) for request in describing], settings, batch=batch),
        testing=estimate(
            [count(request) + unknown for request, unknown in testing], settings, batch=batch
        ),
        counted_by_api=counted,
    )


_EMPTY = Description(
    title="x",
    claim="x",
    description="x",
    activation_rule="x",
    citations=(),
    known_concept="x",
    confidence="low",
)


def _api_count(
    client: anthropic.Anthropic, requests: Sequence[Request]
) -> tuple[Callable[[Request], int], bool]:
    """Have the API count the tokens; return the bound by bytes if it does not."""
    found: dict[str, int] = {}
    for request in requests:
        question = {k: v for k, v in request.arguments.items() if k != "max_tokens"}
        try:
            reply = reached(lambda question=question: client.messages.count_tokens(**question))
        except UnavailableError as error:
            logger.warning("the API did not count the tokens (%s): bytes are counted", error)
            return tokens_of, False
        tokens = getattr(reply, "input_tokens", None)
        if not isinstance(tokens, int):
            logger.warning("the API did not count the tokens: bytes are counted")
            return tokens_of, False
        found[request.about] = math.ceil(tokens * MARGIN)
    return lambda request: found[request.about], True
