"""What Claude is asked: to describe a feature, and to predict activations from a description.

Protein names come from whoever made the input file, and a description may repeat them. Both are
sent as JSON inside a delimited block, with ``<`` and ``>`` written as escapes so that no name can
close the block, and the instructions say that nothing in there is an instruction. What comes back
is checked anyway (`plmsae.reports.claude.verify`, `plmsae.reports.testing`).

The instructions are the part that all requests share; they are marked for Claude's prompt cache.
Those that ship are shorter than what it takes for most models (docs/registry.md): then the mark
changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from plmsae.reports.claude.answers import LONGEST, AnswerError, Description, Predictions
from plmsae.reports.claude.prompts import load_prompt
from plmsae.reports.claude.settings import LlmSettings
from plmsae.reports.evidence import FeatureEvidence
from plmsae.reports.testing.rules import SampledProtein

Given = Literal["metadata", "sequences"]
"""What a predictor sees of each protein: metadata, or the sequence too."""

_MOST = 20  # terms and labels of a protein that are sent
_LONGEST = 2_000  # residues of a sequence that are sent
QUOTED = {**LONGEST, "known_concept": 200}
"""Bytes of each text of a description that are quoted to the predictor: what a prediction can cost
is so known before there is a description."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question."""

    about: str
    """What it is, for traces and messages: ``describe feature 12``."""
    arguments: dict[str, Any]
    """Those of ``messages.create``; equal questions have equal ones."""
    form: type[Description] | type[Predictions]
    check: Callable[[Any], None] | None = None
    """Raises `AnswerError` if an answer of the right form is not usable."""


def describe_request(evidence: FeatureEvidence, settings: LlmSettings) -> Request:
    """Ask for the description of a feature."""
    shown = evidence.to_json()
    # The windows say what the logo says. Nothing of the proteins held back may be shown.
    for name in ("logo", "held_out", "rule_test"):
        del shown[name]
    content = f"{_block('evidence', shown)}\n\nDescribe feature {evidence.latent}."
    return Request(
        about=f"describe feature {evidence.latent}",
        arguments=_arguments("describe_feature", content, Description, settings),
        form=Description,
    )


def predict_request(
    latent: int, description: Description, held_out: tuple[SampledProtein, ...], given: Given,
    settings: LlmSettings,
) -> Request:  # fmt: skip
    """Ask for the activations in the proteins held back; `names_of` says which is which."""
    names = names_of(latent, held_out)
    order = sorted(range(len(held_out)), key=lambda i: names[i])
    proteins = [_told(held_out[i], names[i], given) for i in order]
    told = {
        name: text and _cut(text, most)
        for name, most in QUOTED.items()
        for text in (getattr(description, name),)
    }
    content = (
        f"{_block('description', told)}\n\n{_block('proteins', proteins)}\n\n"
        f"Predict the activation in each of the {len(proteins)} proteins."
    )

    def check(answer: Predictions) -> None:
        found = [entry.protein for entry in answer.predictions]
        if sorted(found) != sorted(names):
            raise AnswerError("the answer does not have one prediction for each protein")

    return Request(
        about=f"predict feature {latent} from {given}",
        arguments=_arguments("predict_activations", content, Predictions, settings),
        form=Predictions,
        check=check,
    )


def names_of(latent: int, held_out: tuple[SampledProtein, ...]) -> list[str]:
    """Name proteins ``P01`` to ``Pnn`` in an order that says nothing of their activations."""
    order = np.random.default_rng(latent).permutation(len(held_out))
    return [f"P{place + 1:02d}" for place in order.tolist()]


def _told(protein: SampledProtein, name: str, given: Given) -> dict[str, Any]:
    told: dict[str, Any] = {
        "protein": name,
        "name": protein.name,
        "organism": protein.organism,
        "length": len(protein.sequence),
        "terms": protein.terms[:_MOST],
        "labels": protein.labels[:_MOST],
    }
    if given == "sequences":
        told["sequence"] = protein.sequence[:_LONGEST]
    return told


def _block(tag: str, value: Any) -> str:
    return f"<{tag}>\n{_escaped(value)}\n</{tag}>"


def _escaped(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def _cut(text: str, most: int) -> str:
    """Shorten a text until it takes so many bytes as it is sent."""
    text = text[:most]
    # The request is JSON that holds this JSON as a string: quotes and backslashes double again.
    while (over := len(json.dumps(_escaped(text)[1:-1], ensure_ascii=False).encode()) - 2) > most:
        text = text[: -max(1, (over - most) // 14)]
    return text


def _arguments(
    prompt: str, content: str, form: type[Description] | type[Predictions], settings: LlmSettings
) -> dict[str, Any]:
    from anthropic import transform_schema

    return {
        "model": settings.model,
        "max_tokens": settings.max_tokens,
        "system": [
            {
                "type": "text",
                "text": load_prompt(prompt).text,
                "cache_control": {"type": "ephemeral"},
            }
        ],
        "messages": [{"role": "user", "content": content}],
        "output_config": {"format": {"type": "json_schema", "schema": transform_schema(form)}},
    }
