"""Message Batches: many questions in one call, answered within a day at half the price.

The id of a batch is written to the disk as soon as it is known. A run that was killed while it
waited so finds its batch again, and nothing is sent or paid for twice.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.core.atomic import write_json
from plmsae.reports.claude.answer_cache import digest_of
from plmsae.reports.claude.messages import Message, UnavailableError, reached, taken
from plmsae.reports.claude.requests import Request
from plmsae.reports.claude.settings import LlmSettings

if TYPE_CHECKING:
    import anthropic

logger = logging.getLogger(__name__)

_SUFFIX = ".batch.json"


def send_batch(client: anthropic.Anthropic, folder: Path, requests: Sequence[Request]) -> None:
    """Send questions as one batch and note its id in `folder`.

    Raises
    ------
    UnavailableError
        If the batch was not taken.
    """
    entries: Any = [{"custom_id": digest_of(r), "params": r.arguments} for r in requests]
    batch = reached(lambda: client.messages.batches.create(requests=entries))
    name = str(getattr(batch, "id", ""))
    if not name:
        raise UnavailableError("the endpoint's answer is not a batch")
    write_json(
        folder / f"{digest_of(requests[0])}{_SUFFIX}",
        {"id": name, "questions": [digest_of(request) for request in requests]},
    )
    logger.info("batch %s: %d questions sent", name, len(requests))


def collect_batches(
    client: anthropic.Anthropic, settings: LlmSettings, folder: Path, wanted: Sequence[Request]
) -> dict[str, Message | str]:
    """Wait for the batches noted in `folder` that hold any of the questions.

    Returns
    -------
    dict
        By the digest of a question, its message, or in words why there is none.

    Raises
    ------
    UnavailableError
        If the endpoint fails; the batches stay noted.
    """
    found: dict[str, Message | str] = {}
    for path, name in _noted(folder, {digest_of(request) for request in wanted}):
        try:
            _wait(client, settings, name)
            for entry in reached(lambda n=name: list(client.messages.batches.results(n))):
                found[str(entry.custom_id)] = _result(entry.result)
        except UnavailableError as error:
            if "HTTP 404" not in str(error):
                raise
            logger.warning("batch %s is not known any more; its questions are sent again", name)
            path.unlink()
    return found


def forget_batches(folder: Path, wanted: Sequence[Request]) -> None:
    """Drop the notes of the batches that hold any of the questions: their answers are kept."""
    for path, _ in _noted(folder, {digest_of(request) for request in wanted}):
        path.unlink()


def _noted(folder: Path, digests: set[str]) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            if digests & set(note["questions"]):
                yield path, str(note["id"])
        except (OSError, ValueError, KeyError, TypeError):
            logger.warning("%s: not the note of a batch; left out", path)


def _wait(client: anthropic.Anthropic, settings: LlmSettings, name: str) -> None:
    while True:
        batch = reached(lambda: client.messages.batches.retrieve(name))
        status = getattr(batch, "processing_status", None)
        if status == "ended":
            return
        if status not in ("in_progress", "canceling"):
            raise UnavailableError("the endpoint's answer is not a batch")
        time.sleep(settings.poll_seconds)


def _result(result: Any) -> Message | str:
    if result.type == "succeeded":
        try:
            return taken(result.message)
        except UnavailableError as error:
            return str(error)
    kind = getattr(getattr(getattr(result, "error", None), "error", None), "type", None)
    return f"{result.type} in the batch{f' ({kind})' if kind else ''}"
