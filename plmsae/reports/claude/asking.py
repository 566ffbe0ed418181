"""Asking Claude many questions: one by one a few at a time, or as a batch at half the price."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plmsae.core.errors import InputError
from plmsae.reports.claude.answer_cache import AnswerCache, digest_of
from plmsae.reports.claude.answers import AnswerError, Description, Predictions
from plmsae.reports.claude.batches import collect_batches, forget_batches, send_batch
from plmsae.reports.claude.budget import MAX_ASKS, Budget, cost_of_one, tokens_of
from plmsae.reports.claude.messages import Message, UnavailableError, send, usable, usage_of
from plmsae.reports.claude.requests import Request
from plmsae.reports.claude.settings import LlmSettings, Usage, total_usage

if TYPE_CHECKING:
    import anthropic

logger = logging.getLogger(__name__)

_FREE = Usage(input_tokens=0, output_tokens=0, cost_usd=0.0, cached=True)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one question."""

    request: Request
    answer: Description | Predictions | None
    """None if there is no usable one."""
    problem: str
    """Why not; empty otherwise."""
    usage: Usage
    """What all tries took."""
    seconds: float
    """How long it took; of a batch, until the whole batch had ended."""


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Asks questions, within a budget, and keeps the answers."""

    client: anthropic.Anthropic
    """Retries passing errors by itself."""
    settings: LlmSettings
    """Model, prices, waiting times."""
    cache: AnswerCache
    """Where answers are kept."""
    budget: Budget
    """What may be spent."""
    jobs: int = 4
    """Questions under way at once."""
    batch: bool = False
    """Send them as one batch."""
    on_outcome: Callable[[Outcome], None] | None = None
    """Called with each outcome, from the thread that asks."""

    def ask(self, requests: Sequence[Request]) -> list[Outcome]:
        """Return what became of each question, in order.

        Raises
        ------
        InputError
            If a batch is asked for and no folder to keep its id in.
        """
        outcomes = []
        for outcome in self._batched(requests) if self.batch else self._one_by_one(requests):
            outcomes.append(outcome)
            if self.on_outcome is not None:
                self.on_outcome(outcome)
        return outcomes

    def _one_by_one(self, requests: Sequence[Request]) -> Iterator[Outcome]:
        with ThreadPoolExecutor(max_workers=self.jobs) as pool:
            yield from pool.map(self._one, requests)

    def _one(self, request: Request, asks: int = MAX_ASKS) -> Outcome:
        if (kept := self.cache.read(request)) is not None:
            return Outcome(request=request, answer=kept, problem="", usage=_FREE, seconds=0.0)
        started = time.monotonic()
        used: list[Usage] = []
        problem = ""
        answer: Description | Predictions | None = None
        most = cost_of_one(tokens_of(request), self.settings, batch=False)
        for _ in range(asks):  # an answer of the wrong form is worth one more try, not many
            if not self.budget.reserve(most):
                problem = self._no_money()
                break
            spent = 0.0
            try:
                message = send(self.client, request.arguments)
                used.append(usage_of(message, self.settings))
                spent = used[-1].cost_usd
                answer = usable(message, request)
                problem = ""
                break
            except UnavailableError as error:
                problem = str(error)
                if not error.lost:
                    break
                spent = most  # it may have been answered, and then it is paid for
            except AnswerError as error:
                problem = str(error)
                logger.info("Claude's answer is not usable: %s", problem)
            finally:
                self.budget.settle(most, spent)
        if answer is not None:
            self.cache.write(request, answer)
        return Outcome(
            request=request,
            answer=answer,
            problem=problem,
            usage=total_usage(used) if used else _FREE,
            seconds=time.monotonic() - started,
        )

    def _batched(self, requests: Sequence[Request]) -> Iterator[Outcome]:
        folder = self.cache.folder
        if folder is None:
            raise InputError("a batch needs a folder for its id and its answers")
        started = time.monotonic()
        kept = [self.cache.read(request) for request in requests]
        wanted = [r for r, answer in zip(requests, kept, strict=True) if answer is None]
        found: dict[str, Message | str] = {}
        try:
            # Batches of an earlier, killed run are waited for and not sent again.
            found = collect_batches(self.client, self.settings, folder, wanted)
            left = [request for request in wanted if digest_of(request) not in found]
            affordable = self._affordable(left)
            found |= {digest_of(r): self._no_money() for r in left[len(affordable) :]}
            for _ in range(MAX_ASKS):  # once more if the batch was lost on its way
                if affordable:
                    send_batch(self.client, folder, affordable)
                    found |= collect_batches(self.client, self.settings, folder, affordable)
                    affordable = [r for r in affordable if digest_of(r) not in found]
            found |= {digest_of(r): "the batch was lost on its way" for r in affordable}
        except UnavailableError as error:
            for request in wanted:
                found.setdefault(digest_of(request), str(error))
        seconds = time.monotonic() - started
        for request, answer in zip(requests, kept, strict=True):
            if answer is None:
                yield self._of_batch(request, found[digest_of(request)], seconds)
            else:
                yield Outcome(request=request, answer=answer, problem="", usage=_FREE, seconds=0.0)
        forget_batches(folder, [r for r in wanted if isinstance(found[digest_of(r)], Message)])

    def _of_batch(self, request: Request, result: Message | str, seconds: float) -> Outcome:
        if isinstance(result, str):
            return Outcome(
                request=request, answer=None, problem=result, usage=_FREE, seconds=seconds
            )
        usage = usage_of(result, self.settings, batch=True)
        self.budget.settle(0.0, usage.cost_usd)
        try:
            answer = usable(result, request)
        except AnswerError as error:
            # Asked again at once: another batch could take a day.
            logger.info("Claude's answer is not usable: %s", error)
            again = self._one(request, MAX_ASKS - 1)
            return dataclasses.replace(again, usage=total_usage([usage, again.usage]))
        self.cache.write(request, answer)
        return Outcome(request=request, answer=answer, problem="", usage=usage, seconds=seconds)

    def _affordable(self, requests: Sequence[Request]) -> list[Request]:
        """Return the first questions that the budget allows as a batch."""
        found: list[Request] = []
        most = 0.0
        for request in requests:
            most += cost_of_one(tokens_of(request), self.settings, batch=True)
            if not self.budget.reserve(most):
                break
            self.budget.settle(most, 0.0)  # nothing else is under way: only the question counts
            found.append(request)
        return found

    def _no_money(self) -> str:
        return f"not asked: it could cost more than is left of ${self.budget.max_usd:.2f}"
