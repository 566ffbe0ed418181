"""What ``registry/llm.yaml`` says of a model, and what answers of it cost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from plmsae.core.errors import InputError
from plmsae.core.resources import registry_path

if TYPE_CHECKING:
    import anthropic


@dataclass(frozen=True, kw_only=True)
class LlmSettings:
    """What ``registry/llm.yaml`` says about one model."""

    model: str
    max_tokens: int
    """Longest answer, in tokens."""
    timeout_seconds: float
    """How long one attempt may take."""
    max_retries: int
    """Further attempts after one that was refused for a passing reason."""
    poll_seconds: float
    """How often a batch is asked whether it has ended."""
    input_price: float
    """US dollars for a million tokens read."""
    output_price: float
    """US dollars for a million tokens written."""
    cache_write_factor: float
    """Price of tokens written to Claude's prompt cache, as a multiple of `input_price`."""
    cache_read_factor: float
    """The same of tokens read from it."""
    batch_factor: float
    """Price of everything in a batch, as a multiple of its price otherwise."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What answers took."""

    input_tokens: int
    """Tokens read, those of the prompt cache not counted."""
    output_tokens: int
    cache_write_tokens: int = 0
    """Tokens written to the prompt cache."""
    cache_read_tokens: int = 0
    """Tokens read from it."""
    cost_usd: float
    """At the prices of ``registry/llm.yaml``; 0 of what came from the disk."""
    cached: bool
    """Whether all of it came from the disk."""


def total_usage(parts: Sequence[Usage]) -> Usage:
    """Add up."""
    return Usage(
        input_tokens=sum(part.input_tokens for part in parts),
        output_tokens=sum(part.output_tokens for part in parts),
        cache_write_tokens=sum(part.cache_write_tokens for part in parts),
        cache_read_tokens=sum(part.cache_read_tokens for part in parts),
        cost_usd=sum(part.cost_usd for part in parts),
        cached=all(part.cached for part in parts),
    )


def cost_of(
    settings: LlmSettings,
    *,
    read: int,
    written: int,
    cache_write: int = 0,
    cache_read: int = 0,
    batch: bool = False,
) -> float:
    """Return the price of tokens, in US dollars."""
    weighted = (
        read + cache_write * settings.cache_write_factor + cache_read * settings.cache_read_factor
    )
    cost = (weighted * settings.input_price + written * settings.output_price) / 1e6
    return cost * settings.batch_factor if batch else cost


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
        poll_seconds=float(raw["poll_seconds"]),
        input_price=float(raw["models"][name]["input"]),
        output_price=float(raw["models"][name]["output"]),
        cache_write_factor=float(raw["price_factors"]["cache_write"]),
        cache_read_factor=float(raw["price_factors"]["cache_read"]),
        batch_factor=float(raw["price_factors"]["batch"]),
    )


def has_key() -> bool:
    """Whether ``ANTHROPIC_API_KEY`` is set."""
    return bool(os.environ.get("ANTHROPIC_API_KEY", "").strip())


def make_client(settings: LlmSettings) -> anthropic.Anthropic | None:
    """Make a client if ``ANTHROPIC_API_KEY`` is set; else None."""
    if not has_key():
        return None
    import anthropic

    return anthropic.Anthropic(max_retries=settings.max_retries, timeout=settings.timeout_seconds)
