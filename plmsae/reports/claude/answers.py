"""The forms in which Claude must answer."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from plmsae.core.errors import PlmsaeError

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class AnswerError(PlmsaeError):
    """Claude's answer is not of the form that was asked for."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Citation(_Answer):
    """A residue of the evidence that supports what is said."""

    accession: Text
    """The protein."""
    position: Annotated[int, Field(ge=1)]
    """1-based."""
    residue: Text
    """One-letter code of the residue there."""
    shows: Text
    """What it shows, in a few words."""


class Description(_Answer):
    """A feature in words."""

    title: Text
    """A name for it."""
    claim: Text
    """One sentence: what it detects."""
    description: Text
    """A paragraph."""
    activation_rule: Text
    """In which proteins, and at which residues, it fires: strongly, weakly, not at all."""
    citations: tuple[Citation, ...]
    """The evidence, by accession and position."""
    known_concept: Text | None
    """The concept that explains the feature, as the evidence spells it; null if none does."""
    confidence: Literal["high", "medium", "low"]
    """Claude's own."""


LONGEST = {"title": 120, "claim": 600, "description": 2_000, "activation_rule": 1_500}
"""Characters of each text of a description beyond which it is far longer than asked for."""


class ProteinActivation(_Answer):
    """The activation predicted for one protein."""

    protein: Text
    """Its name in the question (``P07``)."""
    activation: Annotated[float, Field(ge=0, le=1)]
    """Largest activation in it, as a share of the feature's maximum."""


class Predictions(_Answer):
    """Predicted activations."""

    predictions: tuple[ProteinActivation, ...]
    """One for each protein asked about."""


AnyAnswer = TypeVar("AnyAnswer", bound=_Answer)


def parse(form: type[AnyAnswer], text: str) -> AnyAnswer:
    """Read an answer.

    Raises
    ------
    AnswerError
        If it is not JSON, or not of that form; the message names the field.
    """
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise AnswerError(
            f"the answer is not JSON: {error.msg} at character {error.pos}"
        ) from error
    except (ValueError, RecursionError) as error:  # numbers too long, lists too deep
        raise AnswerError(f"the answer is not JSON that can be read: {error}") from error
    try:
        return form.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "answer"
        raise AnswerError(f"the field {field} of the answer: {first['msg'].lower()}") from error
