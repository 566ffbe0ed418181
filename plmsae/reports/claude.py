"""Asking Claude through the anthropic SDK: once for each request, however often a report is made.

Answers are kept on disk under the SHA-256 of the request, so a second run costs nothing and gives
the same text; the models take no temperature, hence nothing else would. Neither the key nor any
header is logged, cached or put into an error.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from plmsae.core.atomic import write_json
from plmsae.core.errors import InputError
from plmsae.core.foreign_files import kind_of
from plmsae.core.resources import registry_path
from plmsae.reports.prompt import AnswerError, parse

if TYPE_CHECKING:
    import anthropic

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LlmSettings:
    """What ``registry/llm.yaml`` says about one model."""

    model: str
    """Its name."""
    max_tokens: int
    """Longest answer, in tokens."""
    timeout_seconds: float
    """How long one attempt may take."""
    max_retries: int
    """Further attempts after one that failed for a passing reason."""
    input_price: float
    """US dollars for a million tokens read."""
    output_price: float
    """US dollars for a million tokens written."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What an answer took."""

    input_tokens: int
    """Tokens read."""
    output_tokens: int
    """Tokens written."""
    cost_usd: float
    """At the prices of ``registry/llm.yaml``; 0 if it came from the cache."""
    cached: bool
    """Whether it came from the cache."""


class UnavailableError(Exception):
    """Claude could not be asked, or gave no usable answer; the message is fit to show."""


def llm_settings(model: str | None = None) -> LlmSettings:
    """Read the settings of a model, or of the default one.

    Raises
    ------
    InputError
        If ``registry/llm.yaml`` does not name it.
    """
    path = registry_path("llm.yaml")
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    name = model or raw["default"]
    if name not in raw["models"]:
        known = ", ".join(raw["models"])
        raise InputError("unknown language model", where=path, value=name, hint=f"known: {known}")
    return LlmSettings(
        model=name,
        max_tokens=int(raw["max_tokens"]),
        timeout_seconds=float(raw["timeout_seconds"]),
        max_retries=int(raw["max_retries"]),
        input_price=float(raw["models"][name]["input"]),
        output_price=float(raw["models"][name]["output"]),
    )


def make_client(settings: LlmSettings) -> anthropic.Anthropic | None:
    """Make a client if ``ANTHROPIC_API_KEY`` is set; else None."""
    if not os.environ.get("ANTHROPIC_API_KEY", "").strip():
        return None
    import anthropic

    return anthropic.Anthropic(max_retries=settings.max_retries, timeout=settings.timeout_seconds)


def ask(
    client: anthropic.Anthropic,
    arguments: dict[str, Any],
    settings: LlmSettings,
    cache_dir: Path | None,
) -> tuple[dict[str, Any], Usage]:
    """Return the answer to a request, from the cache if it was asked before.

    Parameters
    ----------
    client : anthropic.Anthropic
        Retries passing errors (429, 5xx, 529, broken connections) by itself.
    arguments : dict
        As `plmsae.reports.prompt.request` gives them.
    settings : LlmSettings
        Prices.
    cache_dir : Path or None
        Folder of the answers; only answers of the right form are kept.

    Raises
    ------
    UnavailableError
        If no answer came, or twice one of another form.
    """
    digest = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()
    path = None if cache_dir is None else Path(cache_dir) / f"{digest}.json"
    kept = _read(path)
    if kept is not None:
        return kept
    tokens_in = tokens_out = 0
    problem = ""
    for _ in range(2):  # an answer of the wrong form is worth one more try, not many
        message = _create(client, arguments)
        tokens_in += message.tokens_in
        tokens_out += message.tokens_out
        try:
            if message.stop_reason in ("max_tokens", "refusal"):
                raise AnswerError(f"the answer ended early ({message.stop_reason})")
            answer = parse(message.text)
        except AnswerError as error:
            problem = str(error)
            logger.info("Claude's answer is not usable: %s", problem)
            continue
        cost = (tokens_in * settings.input_price + tokens_out * settings.output_price) / 1e6
        usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out, cost_usd=cost, cached=False)
        if path is not None:
            write_json(
                path,
                {
                    "model": arguments["model"],
                    "answer": answer,
                    "input_tokens": tokens_in,
                    "output_tokens": tokens_out,
                },
            )
        return answer, usage
    raise UnavailableError(problem)


class _Message(NamedTuple):
    """What is used of a message."""

    text: str
    stop_reason: str | None
    tokens_in: int
    tokens_out: int


def _create(client: anthropic.Anthropic, arguments: dict[str, Any]) -> _Message:
    import anthropic

    try:
        reply: Any = client.messages.create(**arguments)
    except anthropic.APIStatusError as error:
        # The class and the code only: a message may repeat parts of what was sent.
        name = type(error).__name__
        raise UnavailableError(f"{name} (HTTP {error.status_code})") from error
    except anthropic.AnthropicError as error:
        raise UnavailableError(type(error).__name__) from error
    # The SDK reads whatever comes with status 200: a page of a proxy, half a body, numbers of
    # thousands of digits. How that fails is its own affair; a report is not lost to it.
    except Exception as error:
        raise UnavailableError(f"an answer that cannot be read ({type(error).__name__})") from error
    return _taken(reply)


def _taken(reply: Any) -> _Message:
    """Check that what the SDK made of an answer is a message, and return what is used of it."""
    if isinstance(reply, str):
        kind = kind_of(reply.encode("utf-8", "replace"))
        what = kind.name if kind is not None else "text"
        raise UnavailableError(f"the endpoint answered with {what}, not with a message")
    if getattr(reply, "type", None) == "error":
        raise UnavailableError("the endpoint answered with an error and status 200")
    blocks = getattr(reply, "content", None)
    usage = getattr(reply, "usage", None)
    tokens_in, tokens_out = (
        getattr(usage, name, None) for name in ("input_tokens", "output_tokens")
    )
    if not (isinstance(blocks, list) and type(tokens_in) is int and type(tokens_out) is int):
        raise UnavailableError("the endpoint's answer is not a message")
    texts = [getattr(block, "text", None) for block in blocks]
    text = "".join(part for part in texts if isinstance(part, str))
    return _Message(text, getattr(reply, "stop_reason", None), tokens_in, tokens_out)


def _read(path: Path | None) -> tuple[dict[str, Any], Usage] | None:
    if path is None or not path.exists():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        answer = parse(json.dumps(kept["answer"]))
        usage = Usage(
            input_tokens=int(kept["input_tokens"]),
            output_tokens=int(kept["output_tokens"]),
            cost_usd=0.0,
            cached=True,
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError, AnswerError) as error:
        logger.warning("%s: not a kept answer (%s); asking again", path, type(error).__name__)
        return None
    return answer, usage
