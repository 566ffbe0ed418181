"""Answers on the disk, under the SHA-256 of the question.

A second run so costs nothing and gives the same text; the models take no temperature, hence nothing
else would. A run that was killed continues where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from plmsae.core.atomic import write_json
from plmsae.reports.claude.answers import AnswerError, Description, Predictions, parse
from plmsae.reports.claude.requests import Request

logger = logging.getLogger(__name__)


def digest_of(request: Request) -> str:
    """Return the SHA-256 of what is sent, in hexadecimal."""
    return hashlib.sha256(json.dumps(request.arguments, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class AnswerCache:
    """A folder of answers."""

    folder: Path | None
    """None keeps nothing."""

    def path(self, request: Request) -> Path | None:
        """Return the file of the answer to a question."""
        return None if self.folder is None else self.folder / f"{digest_of(request)}.json"

    def write(self, request: Request, answer: Description | Predictions) -> None:
        """Keep an answer of the right form."""
        if (path := self.path(request)) is not None:
            kept = {"model": request.arguments["model"], "answer": answer.model_dump(mode="json")}
            write_json(path, kept)

    def read(self, request: Request) -> Description | Predictions | None:
        """Return the answer to a question, or None if there is none that can be used."""
        path = self.path(request)
        if path is None or not path.exists():
            return None
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            answer = parse(request.form, json.dumps(kept["answer"]))
            if request.check is not None:
                request.check(answer)
        except (OSError, ValueError, KeyError, TypeError, RecursionError, AnswerError) as error:
            logger.warning("%s: not a kept answer (%s); asking again", path, type(error).__name__)
            return None
        return answer
